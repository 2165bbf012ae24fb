"""Visual meshes made by code: surfaces of revolution and boxes, written as MuJoCo's MSH files."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mist_jax.simulator.lite.tools.mjcf import Boxes

# Neighbouring segments of a profile are shaded as one surface below this angle.
_SMOOTH_COSINE = float(np.cos(np.deg2rad(40)))


class Mesh(NamedTuple):
    """Vertices float [V, 3] (m), normals [V, 3], texture coordinates [V, 2], faces int [F, 3]."""

    vertices: np.ndarray
    normals: np.ndarray
    texcoords: np.ndarray
    faces: np.ndarray


def merge(meshes: Sequence[Mesh]) -> Mesh:
    """All meshes as one."""
    offsets = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.normals for mesh in meshes]),
        np.concatenate([mesh.texcoords for mesh in meshes]),
        np.concatenate([mesh.faces + offset for mesh, offset in zip(meshes, offsets, strict=True)]),
    )


def moved(mesh: Mesh, rotation: np.ndarray, offset: Sequence[float]) -> Mesh:
    """Rotate by a [3, 3] matrix, then shift (m)."""
    return mesh._replace(
        vertices=mesh.vertices @ rotation.T + np.asarray(offset), normals=mesh.normals @ rotation.T
    )


def msh_bytes(mesh: Mesh) -> bytes:
    """MuJoCo's binary MSH: four counts, then vertices, normals, texture coordinates, faces."""
    counts = (len(mesh.vertices), len(mesh.normals), len(mesh.texcoords), len(mesh.faces))
    floats = (mesh.vertices, mesh.normals, mesh.texcoords)
    return b"".join(
        [np.asarray(counts, "<i4").tobytes()]
        + [np.ascontiguousarray(array, "<f4").tobytes() for array in floats]
        + [np.ascontiguousarray(mesh.faces, "<i4").tobytes()]
    )


def profile_lengths(profile: Sequence[tuple[float, float]]) -> np.ndarray:
    """Share of the profile's length at each of its points: the lathe's v coordinate, [P]."""
    steps = np.linalg.norm(np.diff(np.asarray(profile), axis=0), axis=1)
    lengths = np.concatenate([[0.0], np.cumsum(steps)])
    return lengths / lengths[-1]


def lathe(profile: Sequence[tuple[float, float]], segments: int) -> Mesh:
    """Revolve (radius, z) points (m) about z.

    The profile runs from the axis at the top, outwards, to the axis at the bottom, so that the
    surface closes and its normals point out. u is the angle / 2 pi, v the length along the profile.
    """
    points = np.asarray(profile, float)
    steps = np.diff(points, axis=0)
    # Top to bottom with the axis on the left: outwards is the step turned left in (radius, z).
    outward = np.stack([-steps[:, 1], steps[:, 0]], 1) / np.linalg.norm(steps, axis=1)[:, None]
    v_of_point = profile_lengths(profile)
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    around = np.stack([np.cos(angle), np.sin(angle)], 1)
    parts = []
    for index in range(len(steps)):
        ends = []
        for point, neighbour in ((index, index - 1), (index + 1, index + 1)):
            normal = outward[index]
            if 0 <= neighbour < len(steps) and normal @ outward[neighbour] > _SMOOTH_COSINE:
                normal = normal + outward[neighbour]
                normal = normal / np.linalg.norm(normal)
            ends.append((points[point], normal, v_of_point[point]))
        vertices, normals, texcoords = (
            np.concatenate(rows)
            for rows in zip(
                *(
                    (
                        np.column_stack([r * around, np.full(len(angle), z)]),
                        np.column_stack([n_r * around, np.full(len(angle), n_z)]),
                        np.column_stack([angle / (2 * np.pi), np.full(len(angle), v)]),
                    )
                    for (r, z), (n_r, n_z), v in ends
                ),
                strict=True,
            )
        )
        first = np.arange(segments)
        second = first + len(angle)
        faces = []
        if points[index, 0] > 0:
            faces.append(np.stack([first, second, first + 1], 1))
        if points[index + 1, 0] > 0:
            faces.append(np.stack([second, second + 1, first + 1], 1))
        parts.append(Mesh(vertices, normals, texcoords, np.concatenate(faces)))
    return merge(parts)


def cylinder(radius: float, half_length: float, segments: int) -> Mesh:
    """A closed cylinder about z."""
    return lathe(
        [(0, half_length), (radius, half_length), (radius, -half_length), (0, -half_length)],
        segments,
    )


def box(half_size: Sequence[float], windows: Sequence[Sequence[float]] | None = None) -> Mesh:
    """An axis-aligned box.

    Args:
        half_size: x, y, z (m).
        windows: (u0, v0, u1, v1) of the texture shown on -x, +x, -y, +y, -z, +z; all of it where
            absent. v grows downwards in the image; faces are upright seen from outside with z up
            (the z faces: with +y up).
    """
    corners = np.array([(-1, 1), (-1, -1), (1, -1), (1, 1)])
    parts = []
    for face in range(6):
        axis, sign = face // 2, (-1, 1)[face % 2]
        normal = np.zeros(3)
        normal[axis] = sign
        up = np.array([0.0, 1.0, 0.0]) if axis == 2 else np.array([0.0, 0.0, 1.0])
        right = np.cross(up, normal)
        vertices = (normal + corners[:, :1] * right + corners[:, 1:] * up) * np.asarray(half_size)
        u0, v0, u1, v1 = windows[face] if windows is not None else (0, 0, 1, 1)
        texcoords = np.array([(u0, v0), (u0, v1), (u1, v1), (u1, v0)])
        faces = np.array([(0, 1, 2), (0, 2, 3)])
        parts.append(Mesh(vertices, np.tile(normal, (4, 1)), texcoords, faces))
    return merge(parts)


def rotation_matrix(quat: Sequence[float]) -> np.ndarray:
    """Rotation [3, 3] of a quaternion wxyz of any length."""
    w, x, y, z = np.asarray(quat, float) / np.linalg.norm(quat)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def mesh_of_boxes(groups: Iterable[Boxes]) -> Mesh:
    """The contact boxes themselves, to be seen."""
    return merge(
        [
            moved(box(group.half_size), rotation_matrix(pose[3:]), pose[:3])
            for group in groups
            for pose in group.poses
        ]
    )


def stretched(mesh: Mesh, scale: Sequence[float]) -> Mesh:
    """Scale x, y and z, normals with them."""
    normals = mesh.normals / np.asarray(scale)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return mesh._replace(vertices=mesh.vertices * np.asarray(scale), normals=normals)
