import chain
from redun import File, task

redun_namespace = "chain"


@task()
def data():
    chain.make_data()
    return [File(path) for path in chain.chunk_paths()]


@task()
def train(chunks):
    return File(chain.train())


@task()
def evaluate(weights):
    return File(chain.evaluate())


@task()
def main():
    return evaluate(train(data()))
