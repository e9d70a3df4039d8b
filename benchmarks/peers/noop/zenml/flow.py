import chain
from zenml import pipeline, step


@step
def data() -> str:
    return chain.make_data()


@step
def train(chunks: str) -> str:
    return chain.train()


@step
def evaluate(weights: str) -> str:
    return chain.evaluate()


@pipeline(enable_cache=True)
def three_stages():
    evaluate(train(data()))


if __name__ == "__main__":
    three_stages()
