#!/usr/bin/env python3
"""Writes the table of crypto_x25519.c: j 256^i times the base point of edwards25519 (RFC 8032 5.1), i 0 to 31, j 1 to 8.

Each is y + x, y - x and 2 d x y of the affine point, one behind the other, in limbs of 64 bits, the lowest first.
"""
import sys

P = 2 ** 255 - 19
D = -121665 * pow(121666, -1, P) % P
BASE_Y = 4 * pow(5, -1, P) % P


def base():
    """Of the two points with its y the one whose x is even."""
    square = (BASE_Y * BASE_Y - 1) * pow(D * BASE_Y * BASE_Y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert x * x % P == square
    return (x if x % 2 == 0 else P - x), BASE_Y


def add(a, b):
    """Affine; the law has no exceptions."""
    product = D * a[0] * a[1] * b[0] * b[1] % P
    return ((a[0] * b[1] + a[1] * b[0]) * pow(1 + product, -1, P) % P,
            (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, P) % P)


def limbs(number):
    """As C has them."""
    return ', '.join(f'{number >> shift & 2 ** 64 - 1:#018x}' for shift in range(0, 256, 64))


def main():
    """To the file that is named."""
    point = base()
    lines = []
    for _ in range(32):
        lines.append('{\n')
        multiple = point
        for _ in range(8):
            x, y = multiple
            lines.append('{ ' + ', '.join(limbs(number % P) for number in (y + x, y - x, 2 * D * x * y)) + ' },\n')
            multiple = add(multiple, point)
        lines.append('},\n')
        for _ in range(8):
            point = add(point, point)
    with open(sys.argv[1], 'w', encoding='ascii') as out:
        out.writelines(lines)


if __name__ == '__main__':
    main()
