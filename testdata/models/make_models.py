#!/usr/bin/env python3
"""Trains the test models of this folder and records what TFLite's reference kernels answer.

Run (Python 3.11; about a minute on one core; nothing is downloaded besides the packages):

    python3 -m venv /tmp/models-venv
    /tmp/models-venv/bin/pip install numpy==2.4.6 scikit-learn==1.9.1 pillow==13.0.0 flatbuffers==25.12.19 \
        tflite==2.18.0 ai-edge-litert==2.3.0 tensorflow-cpu==2.21.0 keras==3.15.1
    /tmp/models-venv/bin/python testdata/models/make_models.py [OUT_DIR]

The data set is scikit-learn's bundled 8x8 digits. Training, conversion and sampling are seeded and single-threaded.
Models differ between TensorFlow builds and CPUs all the same, so the files here are the truth and a new run replaces all of them.

Per model NAME:
    NAME.tflite             the model, one 8x8 grey picture in, ten probabilities out
    NAME.input_K.npy        test sample K as the model's input tensor (its own integer type and shape), K = 0..3
    NAME.output_K.npy       the output tensor of OpResolverType.BUILTIN_REF for sample K
    MANIFEST.json           versions, operators, quantization, accuracy
`digits_other_weights` is `digits` with other weight and bias bytes and nothing else changed; it reads `digits.input_K.npy`.
"""
import hashlib
import json
import os
import sys
from pathlib import Path

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1", TF_ENABLE_ONEDNN_OPTS="0")

import ai_edge_litert
import keras
import numpy as np
import PIL
import sklearn
import tensorflow as tf
import tflite
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from PIL import Image
from sklearn.datasets import load_digits
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

SEED = 20
SAMPLES = 4
LINEAR = {tflite.BuiltinOperator.CONV_2D, tflite.BuiltinOperator.DEPTHWISE_CONV_2D,
          tflite.BuiltinOperator.FULLY_CONNECTED}
OP_NAMES = {v: k for k, v in vars(tflite.BuiltinOperator).items() if not k.startswith("_")}
TYPE_NAMES = {v: k for k, v in vars(tflite.TensorType).items() if not k.startswith("_")}


# ---- data -----------------------------------------------------------------------------------------------------------

def pictures():
    """8-bit grey pictures first, reals second: a PNG of a picture then holds exactly the model's input."""
    digits = load_digits()
    pixels = np.floor(digits.images * 255 / 16 + 0.5).astype(np.uint8)[..., None]
    order = np.random.default_rng(SEED).permutation(len(pixels))
    pixels, labels = pixels[order], digits.target[order]
    cut = len(pixels) * 4 // 5
    return (pixels[:cut], labels[:cut]), (pixels[cut:], labels[cut:])


def reals(pixels):
    return pixels.astype(np.float32) / 255


# ---- float models ---------------------------------------------------------------------------------------------------

def digits(x):
    """Every operator of a small residual net: convolutions with and without a fused clamp, both pools, ADD."""
    layers = keras.layers
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    y = layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    y = layers.Conv2D(8, 1)(y)
    x = layers.Add()([x, y])
    x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = layers.AveragePooling2D(2)(x)
    x = layers.Flatten()(x)
    return layers.Dense(10, activation="softmax")(x)


def digits_mlp(x):
    """Fully connected layers only."""
    layers = keras.layers
    x = layers.Flatten()(x)
    x = layers.Dense(32, activation="relu")(x)
    x = layers.Dense(16, activation="relu")(x)
    return layers.Dense(10, activation="softmax")(x)


def train(build, data, epochs):
    keras.utils.set_random_seed(SEED)
    x = keras.Input((8, 8, 1))
    net = keras.Model(x, build(x))
    net.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    net.fit(reals(data[0]), data[1], epochs=epochs, batch_size=32, verbose=0)
    return net


def frozen(net):
    """Constants in place of variables and a batch of one: the converter's calibrator cannot read Keras 3 variables."""
    fn = tf.function(lambda v: net(v, training=False))
    return convert_variables_to_constants_v2(fn.get_concrete_function(tf.TensorSpec((1, 8, 8, 1), tf.float32)))


# ---- conversion -----------------------------------------------------------------------------------------------------

def to_int8(net, data, dense_per_channel):
    """Post-training full-integer quantization, weights int8 and symmetric per output channel."""
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen(net)])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([reals(data[0][k:k + 1])] for k in range(256))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    converter._experimental_disable_per_channel_quantization_for_dense_layers = not dense_per_channel
    return converter.convert()


def fake_quant(x, values, narrow=False):
    lo, hi = min(float(np.min(values)), 0.0), max(float(np.max(values)), 0.0)
    return tf.quantization.fake_quant_with_min_max_args(x, lo, hi, num_bits=8, narrow_range=narrow)


def uint8_net(weights, ranges, x):
    """The same net as `strided` with a fake-quant node on every tensor: what the old uint8 scheme needs."""
    kernel = [fake_quant(tf.constant(w), w, narrow=True) for w in weights[0::2]]
    bias = [tf.constant(b) for b in weights[1::2]]
    x = fake_quant(x, [0.0, 1.0])
    x = fake_quant(tf.nn.relu6(tf.nn.conv2d(x, kernel[0], [1, 2, 2, 1], "SAME") + bias[0]), ranges[0])
    x = fake_quant(tf.nn.relu6(tf.nn.depthwise_conv2d(x, kernel[1], [1, 1, 1, 1], "SAME") + bias[1]), ranges[1])
    x = fake_quant(tf.nn.conv2d(x, kernel[2], [1, 1, 1, 1], "SAME") + bias[2], ranges[2])
    x = fake_quant(tf.reduce_mean(x, [1, 2]), ranges[3])
    x = fake_quant(tf.matmul(x, kernel[3]) + bias[3], ranges[4])
    return tf.identity(tf.nn.softmax(x), name="output")


def strided(x):
    layers = keras.layers
    x = layers.ReLU(6.0)(layers.Conv2D(12, 3, strides=2, padding="same")(x))
    x = layers.ReLU(6.0)(layers.DepthwiseConv2D(3, padding="same")(x))
    x = layers.Conv2D(24, 1)(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(10)(x)
    return layers.Softmax()(x)


def to_uint8(net, data):
    """The older scheme: uint8 everywhere, asymmetric, one scale per tensor. The converter makes it from ranges."""
    watched = [net.layers[k].output for k in (2, 4, 5, 6, 7)]
    ranges = [np.percentile(v, [0.05, 99.95]) for v in keras.Model(net.inputs, watched).predict(reals(data[0]), verbose=0)]
    weights = net.get_weights()
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, (1, 8, 8, 1), name="input")
        y = uint8_net(weights, ranges, x)
        converter = v1.lite.TFLiteConverter.from_session(session, [x], [y])
        converter.inference_type = converter.inference_input_type = converter.inference_output_type = tf.uint8
        converter.quantized_input_stats = {"input": (0.0, 255.0)}
        return converter.convert()


# ---- editing --------------------------------------------------------------------------------------------------------

def linear_constants(model):
    """Buffer indices of the weights and biases of all linear operators."""
    graph = model.Subgraphs(0)
    for k in range(graph.OperatorsLength()):
        op = graph.Operators(k)
        if model.OperatorCodes(op.OpcodeIndex()).BuiltinCode() in LINEAR:
            for operand in (1, 2):
                tensor = graph.Tensors(op.Inputs(operand))
                yield tensor.Buffer(), {9: np.int8, 2: np.int32, 3: np.uint8}[tensor.Type()]


def with_other_weights(blob):
    """Shuffles the values of every weight and bias buffer in place; no other byte moves."""
    rng = np.random.default_rng(SEED + 1)
    out = bytearray(blob)
    model = tflite.Model.GetRootAs(out, 0)
    for index, dtype in linear_constants(model):
        # A view into `out`: writing to it edits the model.
        view = model.Buffers(index).DataAsNumpy().view(dtype)
        view[:] = rng.permutation(view)
    return bytes(out)


# ---- recording ------------------------------------------------------------------------------------------------------

def interpreter(blob):
    it = Interpreter(model_content=blob, num_threads=1, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    it.allocate_tensors()
    return it


def answer(it, tensor):
    it.set_tensor(it.get_input_details()[0]["index"], tensor)
    it.invoke()
    return it.get_tensor(it.get_output_details()[0]["index"]).copy()


def quantized(it, pixels):
    """Pixels as the input tensor. Scale 1/255 makes this `pixel + zero point`, which the assertion pins."""
    detail = it.get_input_details()[0]
    scale, zero_point = detail["quantization"]
    assert abs(scale * 255 - 1) < 1e-6, scale
    stored = pixels.astype(np.int32) + zero_point
    assert (stored == np.rint(reals(pixels) / np.float32(scale)).astype(np.int32) + zero_point).all()
    return stored.astype(detail["dtype"])


def describe(blob):
    model = tflite.Model.GetRootAs(blob, 0)
    graph = model.Subgraphs(0)
    ops = []
    for k in range(graph.OperatorsLength()):
        op = graph.Operators(k)
        code = model.OperatorCodes(op.OpcodeIndex())
        name = OP_NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        tensors = []
        for i in [*op.InputsAsNumpy(), *op.OutputsAsNumpy()]:
            if i < 0:
                continue
            t = graph.Tensors(i)
            q = t.Quantization()
            scales = q.ScaleAsNumpy() if q is not None and q.ScaleLength() else np.array([])
            zeros = q.ZeroPointAsNumpy() if scales.size else np.array([], np.int64)
            entry = {"type": TYPE_NAMES[t.Type()], "shape": t.ShapeAsNumpy().tolist() if t.ShapeLength() else []}
            if scales.size == 1:
                entry |= {"scale": float(scales[0]), "zero_point": int(zeros[0])}
            elif scales.size:
                entry |= {"scales": int(scales.size), "smallest": float(scales.min()), "largest": float(scales.max())}
            tensors.append(entry)
        ops.append({"op": name, "version": code.Version(), "tensors": tensors})
    return ops


def record(out, name, blob, test, inputs_of=None):
    """Writes the model, its samples and the reference answers; returns the manifest entry."""
    it = interpreter(blob)
    stored = quantized(it, test[0])
    answers = [answer(it, stored[k:k + 1]) for k in range(len(stored))]
    right = np.mean([a.argmax() == label for a, label in zip(answers, test[1])])
    (out / f"{name}.tflite").write_bytes(blob)
    for k in range(SAMPLES):
        if inputs_of is None:
            np.save(out / f"{name}.input_{k}.npy", stored[k:k + 1])
        np.save(out / f"{name}.output_{k}.npy", answers[k])
    return {
        "bytes": len(blob),
        "sha256": hashlib.sha256(blob).hexdigest(),
        "inputs_of": inputs_of or name,
        "labels": test[1][:SAMPLES].tolist(),
        "integer_accuracy": round(float(right), 4),
        "ops": describe(blob),
    }


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    data, test = pictures()

    nets = {"digits": train(digits, data, 20), "digits_mlp": train(digits_mlp, data, 20),
            "digits_u8": train(strided, data, 80)}
    blobs = {"digits": to_int8(nets["digits"], data, dense_per_channel=False),
             "digits_mlp": to_int8(nets["digits_mlp"], data, dense_per_channel=True),
             "digits_u8": to_uint8(nets["digits_u8"], data)}
    models = {}
    for name, blob in blobs.items():
        said = nets[name].predict(reals(test[0]), verbose=0).argmax(1)
        models[name] = {"float_accuracy": round(float(np.mean(said == test[1])), 4)} | record(out, name, blob, test)
        assert models[name]["integer_accuracy"] >= 0.9, (name, models[name]["integer_accuracy"])
    models["digits_other_weights"] = record(out, "digits_other_weights", with_other_weights(blobs["digits"]), test,
                                            inputs_of="digits")

    Image.fromarray(test[0][0, :, :, 0]).save(out / "digits.png", optimize=True)
    (out / "digits.labels.txt").write_text("".join(f"{k}\n" for k in range(10)))
    packages = {"ai-edge-litert": ai_edge_litert.__version__, "keras": keras.__version__, "numpy": np.__version__,
                "pillow": PIL.__version__, "scikit-learn": sklearn.__version__, "tensorflow-cpu": tf.__version__}
    manifest = {"made_by": "make_models.py", "kernels": "OpResolverType.BUILTIN_REF", "test_pictures": len(test[0]),
                "packages": packages, "models": models}
    (out / "MANIFEST.json").write_text(json.dumps(manifest, indent=1) + "\n")
    for name, m in models.items():
        print(f"{name}: {m['bytes']} bytes, float {m.get('float_accuracy')}, integer {m['integer_accuracy']}, "
              + " ".join(op["op"] for op in m["ops"]))


if __name__ == "__main__":
    main()
