"""A gRPC service by grpcio, Google's own implementation, and protobuf, Google's own too.

    grpc_service.py [--with-stdin]         listens on a free port of 127.0.0.1; prints {"url", "pid"}

Its descriptors are written here by hand and are those of `grpc_service.proto`: what reads that file is on the other side. It
answers with what it understood, in protobuf's own JSON, so that both sides' JSON can be compared.
"""

import argparse
from concurrent import futures

import grpc
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2, json_format, message_factory
from google.protobuf import struct_pb2, timestamp_pb2, wrappers_pb2

import parts

FIELD = descriptor_pb2.FieldDescriptorProto


def describe():
    file = descriptor_pb2.FileDescriptorProto(name="grpc_service.proto", package="cpd.test", syntax="proto3")
    for module in (any_pb2, duration_pb2, struct_pb2, timestamp_pb2, wrappers_pb2):
        file.dependency.append(module.DESCRIPTOR.name)
    kind = file.enum_type.add(name="Kind")
    for number, name in enumerate(("KIND_UNKNOWN", "CAT", "DOG")):
        kind.value.add(name=name, number=number)
    everything = file.message_type.add(name="Everything")
    scalars = (
        "double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "sfixed32",
        "sfixed64", "bool", "string", "bytes",
    )
    for number, name in enumerate(scalars, 1):
        everything.field.add(name=f"a_{name}", number=number, label=1, type=getattr(FIELD, f"TYPE_{name.upper()}"))
    everything.field.add(name="kind", number=20, label=1, type=FIELD.TYPE_ENUM, type_name=".cpd.test.Kind")
    everything.field.add(name="numbers", number=21, label=3, type=FIELD.TYPE_SINT64)
    everything.field.add(name="inner", number=22, label=1, type=FIELD.TYPE_MESSAGE, type_name=".cpd.test.Everything")
    everything.field.add(name="counts", number=23, label=3, type=FIELD.TYPE_MESSAGE, type_name=".cpd.test.Everything.CountsEntry")
    entry = everything.nested_type.add(name="CountsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=1, type=FIELD.TYPE_STRING)
    entry.field.add(name="value", number=2, label=1, type=FIELD.TYPE_INT32)
    known = {"at": "Timestamp", "lasting": "Duration", "loose": "Struct", "boxed": "Int64Value", "any": "Any"}
    for number, (name, of) in enumerate(known.items(), 24):
        everything.field.add(name=name, number=number, label=1, type=FIELD.TYPE_MESSAGE, type_name=f".google.protobuf.{of}")
    text = file.message_type.add(name="Text")
    text.field.add(name="text", number=1, label=1, type=FIELD.TYPE_STRING)
    pool = descriptor_pool.Default()
    pool.Add(file)
    return tuple(message_factory.GetMessageClass(pool.FindMessageTypeByName(f"cpd.test.{n}")) for n in ("Everything", "Text"))


Everything, Text = describe()


def understood(message):
    return Text(text=json_format.MessageToJson(message, always_print_fields_with_no_presence=True))


def tell(request, context):
    """What came."""
    return understood(request)


def make(request, context):
    """What the text says, which is JSON."""
    return json_format.Parse(request.text, Everything())


def count(request, context):
    for number in range(int(request.text)):
        yield Text(text=str(number))


def join(requests, context):
    return Text(text="+".join(request.text for request in requests))


def swap(requests, context):
    for request in requests:
        yield Text(text=request.text[::-1])


def metadata(request, context):
    """The metadata of that name."""
    return Text(text=dict(context.invocation_metadata()).get(request.text, ""))


def fail(request, context):
    """With the status of that name; `raise` is a fault of the service itself."""
    if request.text == "raise":
        raise ValueError("caf\u00e9")
    context.abort(grpc.StatusCode[request.text], "because of 100% caf\u00e9\nand more")


def hang(request, context):
    """Says how much time it was given, when it runs out."""
    ended = futures.Future()
    context.add_callback(lambda: ended.set_result(None))
    ended.result()


def handlers():
    def of(handler, function, request=Text, answer=Text):
        return handler(function, request_deserializer=request.FromString, response_serializer=answer.SerializeToString)

    unary = grpc.unary_unary_rpc_method_handler
    methods = {
        "Tell": of(unary, tell, request=Everything),
        "Make": of(unary, make, answer=Everything),
        "Count": of(grpc.unary_stream_rpc_method_handler, count),
        "Join": of(grpc.stream_unary_rpc_method_handler, join),
        "Swap": of(grpc.stream_stream_rpc_method_handler, swap),
        "Metadata": of(unary, metadata),
        "Fail": of(unary, fail),
        "Hang": of(unary, hang),
    }
    return grpc.method_handlers_generic_handler("cpd.test.Service", methods)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--with-stdin", action="store_true")
    arguments = parser.parse_args()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers((handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    parts.say_up(url=f"http://127.0.0.1:{port}")
    parts.end_with(lambda: server.stop(0), arguments.with_stdin)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
