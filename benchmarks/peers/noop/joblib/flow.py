import chain
from joblib import Memory

memory = Memory(".joblib", verbose=0)


@memory.cache
def data():
    return chain.make_data()


@memory.cache
def train(chunks):
    return chain.train()


@memory.cache
def evaluate(weights):
    return chain.evaluate()


if __name__ == "__main__":
    evaluate(train(data()))
