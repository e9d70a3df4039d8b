import chain
from kedro.pipeline import node, pipeline


def register_pipelines():
    return {
        "__default__": pipeline(
            [
                node(chain.make_data, None, "chunks", name="data"),
                node(lambda chunks: chain.train(), "chunks", "weights", name="train"),
                node(lambda weights: chain.evaluate(), "weights", "metrics", name="evaluate"),
            ]
        )
    }
