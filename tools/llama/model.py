"""Writes a tiny language model as a GGUF file: llama's architecture, random weights, one token per byte.

Its text is babble; what it is for is the protocol: a server that is not ours, streaming tokens that
nobody has scripted. The same seed gives the same file everywhere, byte for byte: the numbers come from
SplitMix64 and are exact in a float.
"""
import struct
import sys

WIDTH, LAYERS, HEADS, HIDDEN, CONTEXT = 64, 2, 4, 192, 2048
SPECIAL = ('<unk>', '<s>', '</s>')
VOCABULARY = len(SPECIAL) + 256 + 95  # and printable ASCII as tokens of its own, which reads better
UINT32, FLOAT32, STRING, ARRAY, INT32 = 4, 6, 8, 9, 5
UNKNOWN, CONTROL, BYTE, NORMAL = 2, 3, 6, 1  # kinds of token
ALIGNMENT = 32

TEMPLATE = ("{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}"
            "{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}")


def text(value):
    data = value.encode()
    return struct.pack('<Q', len(data)) + data


def field(name, kind, value):
    packed = {UINT32: lambda: struct.pack('<I', value), FLOAT32: lambda: struct.pack('<f', value),
              STRING: lambda: text(value)}
    return text(name) + struct.pack('<I', kind) + packed[kind]()


def array(name, kind, values):
    packed = {STRING: text, FLOAT32: lambda v: struct.pack('<f', v), INT32: lambda v: struct.pack('<i', v)}
    return text(name) + struct.pack('<IIQ', ARRAY, kind, len(values)) + b''.join(map(packed[kind], values))


def tokens():
    """(text, score, kind) of each."""
    yield SPECIAL[0], 0.0, UNKNOWN
    for name in SPECIAL[1:]:
        yield name, 0.0, CONTROL
    for byte in range(256):
        yield f'<0x{byte:02X}>', 0.0, BYTE
    for byte in range(32, 127):
        yield '\u2581' if byte == 32 else chr(byte), -1.0, NORMAL


def fields():
    all_tokens = list(tokens())
    return [
        field('general.architecture', STRING, 'llama'),
        field('general.name', STRING, 'sluice-tiny'),
        field('general.alignment', UINT32, ALIGNMENT),
        field('llama.context_length', UINT32, CONTEXT),
        field('llama.embedding_length', UINT32, WIDTH),
        field('llama.block_count', UINT32, LAYERS),
        field('llama.feed_forward_length', UINT32, HIDDEN),
        field('llama.attention.head_count', UINT32, HEADS),
        field('llama.attention.head_count_kv', UINT32, HEADS),
        field('llama.attention.layer_norm_rms_epsilon', FLOAT32, 1e-5),
        field('llama.rope.dimension_count', UINT32, WIDTH // HEADS),
        field('llama.vocab_size', UINT32, VOCABULARY),
        field('tokenizer.ggml.model', STRING, 'llama'),
        array('tokenizer.ggml.tokens', STRING, [token[0] for token in all_tokens]),
        array('tokenizer.ggml.scores', FLOAT32, [token[1] for token in all_tokens]),
        array('tokenizer.ggml.token_type', INT32, [token[2] for token in all_tokens]),
        field('tokenizer.ggml.unknown_token_id', UINT32, 0),
        field('tokenizer.ggml.bos_token_id', UINT32, 1),
        field('tokenizer.ggml.eos_token_id', UINT32, 2),
        field('tokenizer.chat_template', STRING, TEMPLATE),
    ]


def shapes():
    """Name and dimensions, the fastest first, of every tensor."""
    yield 'token_embd.weight', (WIDTH, VOCABULARY)
    for layer in range(LAYERS):
        yield f'blk.{layer}.attn_norm.weight', (WIDTH,)
        for part in ('attn_q', 'attn_k', 'attn_v', 'attn_output'):
            yield f'blk.{layer}.{part}.weight', (WIDTH, WIDTH)
        yield f'blk.{layer}.ffn_norm.weight', (WIDTH,)
        yield f'blk.{layer}.ffn_gate.weight', (WIDTH, HIDDEN)
        yield f'blk.{layer}.ffn_up.weight', (WIDTH, HIDDEN)
        yield f'blk.{layer}.ffn_down.weight', (HIDDEN, WIDTH)
    yield 'output_norm.weight', (WIDTH,)
    yield 'output.weight', (WIDTH, VOCABULARY)


def numbers(count, seed):
    """Weights in -1/4 ... 1/4, each a multiple of 2^-18 and so exact."""
    mask = (1 << 64) - 1
    for _ in range(count):
        seed = (seed + 0x9e3779b97f4a7c15) & mask
        mixed = ((seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94d049bb133111eb) & mask
        yield ((mixed ^ (mixed >> 31)) % 131072 - 65536) / 262144


def model(seed):
    infos, data = b'', b''
    for index, (name, dimensions) in enumerate(shapes()):
        count = 1
        for dimension in dimensions:
            count *= dimension
        weights = [1.0] * count if len(dimensions) == 1 else numbers(count, seed + index)
        infos += text(name) + struct.pack(f'<I{len(dimensions)}QIQ', len(dimensions), *dimensions, 0, len(data))
        data += struct.pack(f'<{count}f', *weights)
        data += bytes(-len(data) % ALIGNMENT)
    described = fields()
    head = b'GGUF' + struct.pack('<IQQ', 3, len(list(shapes())), len(described)) + b''.join(described) + infos
    return head + bytes(-len(head) % ALIGNMENT) + data


if __name__ == '__main__':
    if len(sys.argv) not in (2, 3):
        print('Usage: tools/llama/model.py FILE [SEED]', file=sys.stderr)
        sys.exit(2)
    with open(sys.argv[1], 'wb') as out:
        out.write(model(int(sys.argv[2]) if len(sys.argv) == 3 else 1))
