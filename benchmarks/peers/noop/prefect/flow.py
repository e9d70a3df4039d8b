import chain
from prefect import flow, task
from prefect.cache_policies import INPUTS, TASK_SOURCE

CACHED = {"cache_policy": INPUTS + TASK_SOURCE, "persist_result": True}


@task(**CACHED)
def data(work):
    return chain.make_data()


@task(**CACHED)
def train(chunks):
    return chain.train()


@task(**CACHED)
def evaluate(weights):
    return chain.evaluate()


@flow
def three_stages():
    return evaluate(train(data("three stages")))


if __name__ == "__main__":
    three_stages()
