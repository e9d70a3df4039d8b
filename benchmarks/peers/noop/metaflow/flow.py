import chain
from metaflow import FlowSpec, step


class Chain(FlowSpec):
    @step
    def start(self):
        self.chunks = chain.make_data()
        self.next(self.train)

    @step
    def train(self):
        self.weights = chain.train()
        self.next(self.end)

    @step
    def end(self):
        self.metrics = chain.evaluate()


if __name__ == "__main__":
    Chain()
