"""Parses each ONNX file and builds an engine of it: build.py MODEL...

Prints a line for each file, and what TensorRT says against it. Ends with 1 if it says anything: an
error or a warning of the parser or the builder.
"""

import sys
import time

import tensorrt_rtx_libs  # noqa: F401, loads the libraries that the bindings need
import tensorrt_rtx_bindings as trt


class Logger(trt.ILogger):
    """Keeps warnings and errors, prints nothing."""

    def __init__(self):
        trt.ILogger.__init__(self)
        self.said = []

    def log(self, severity, message):
        if severity in (self.INTERNAL_ERROR, self.ERROR, self.WARNING):
            self.said.append(f"{str(severity).split('.')[-1].lower()}: {message}")


def build(path):
    """Returns a description of the engine of `path`, and what was said against it."""
    logger = Logger()
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    begun = time.monotonic()
    parsed = parser.parse_from_file(path)
    said = [f"parser: {parser.get_error(place)}" for place in range(parser.num_errors)]
    if not parsed:
        return "not parsed", said + logger.said or ["the parser refuses it"]
    engine = builder.build_serialized_network(network, builder.create_builder_config())
    if engine is None:
        return f"{network.num_layers} layers, not built", said + logger.said or ["no engine"]
    took = time.monotonic() - begun
    size = engine.nbytes / 1e6
    return f"{network.num_layers} layers, {size:.1f} MB, {took:.1f} s", said + logger.said


def main():
    print(f"TensorRT for RTX {trt.__version__}")
    failed = 0
    for path in sys.argv[1:]:
        description, said = build(path)
        failed += bool(said)
        print(f"{'FAILED' if said else 'ok':6} {path}: {description}", flush=True)
        for line in said[:20]:
            print(f"       {line[:400]}")
    print(f"{len(sys.argv) - 1 - failed} of {len(sys.argv) - 1} models without a word against them")
    sys.exit(1 if failed else 0)


main()
