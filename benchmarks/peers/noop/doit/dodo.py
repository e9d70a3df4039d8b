import chain

CHUNKS = chain.chunk_paths()


def task_data():
    return {"actions": [lambda: bool(chain.make_data())], "file_dep": ["chunks.json"], "targets": CHUNKS}


def task_train():
    return {"actions": [lambda: bool(chain.train())], "file_dep": CHUNKS, "targets": [str(chain.WEIGHTS)]}


def task_evaluate():
    return {
        "actions": [lambda: bool(chain.evaluate())],
        "file_dep": [str(chain.WEIGHTS)],
        "targets": [str(chain.METRICS)],
    }
