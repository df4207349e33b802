"""Rotations against scipy's, an independent library."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from gatlas.geometry import rotations


@pytest.fixture
def random_rotations():
    return Rotation.random(200, random_state=1)


def wxyz(rotation):
    return np.roll(rotation.as_quat(), 1, axis=-1)


def test_matrices_equal_scipys(random_rotations):
    quats = wxyz(random_rotations) * 3.7  # need not be unit
    assert np.allclose(rotations.quats_to_matrices(quats), random_rotations.as_matrix(), atol=1e-12)


@pytest.mark.parametrize("angle", [0, 1e-7, 0.3, 90, 179.9, 180])
def test_angles_between_equal_scipys(random_rotations, angle):
    turned = Rotation.from_rotvec([0, np.radians(angle), 0]) * random_rotations
    found = rotations.angles_between(turned.as_matrix(), random_rotations.as_matrix())
    # Near 180 degrees a rounding of the chord is the root of it in the angle.
    np.testing.assert_allclose(found, angle, atol=1e-12 if angle < 1 else 1e-5)


def test_matrices_to_quats_is_the_inverse(random_rotations):
    quats = rotations.matrices_to_quats(random_rotations.as_matrix())
    assert np.allclose(rotations.quats_to_matrices(quats), random_rotations.as_matrix(), atol=1e-12)
    assert (quats[:, 0] >= 0).all()


@pytest.mark.parametrize("axis", [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0, -0.8]])
def test_half_turns_have_no_singular_case(axis):
    matrix = Rotation.from_rotvec(np.pi * np.array(axis)).as_matrix()[None]
    quat = rotations.matrices_to_quats(matrix)
    assert np.allclose(rotations.quats_to_matrices(quat), matrix, atol=1e-12)


def test_product_rotates_by_the_right_factor_first(random_rotations):
    left, right = random_rotations[:100], random_rotations[100:]
    product = rotations.multiply_quats(wxyz(left), wxyz(right))
    assert np.allclose(rotations.quats_to_matrices(product), (left * right).as_matrix(), atol=1e-12)


def test_normalized_quats_are_unit_with_positive_w():
    quats = np.array([[-2.0, 0, 0, 0], [0, 0, 3.0, 4.0], [1, -1, 1, -1]])
    assert np.allclose(rotations.normalize_quats(quats), [[1, 0, 0, 0], [0, 0, 0.6, 0.8], [0.5, -0.5, 0.5, -0.5]])


def test_normals_become_the_z_axis():
    normals = np.random.default_rng(0).normal(size=(50, 3))
    normals = np.vstack([normals / np.linalg.norm(normals, axis=1, keepdims=True), [0, 0, 1], [0, 0, -1]])
    turned = rotations.quats_to_matrices(rotations.quats_from_normals(normals))[:, :, 2]
    assert np.allclose(turned, normals, atol=1e-12)


def test_torch_gives_the_same_numbers(random_rotations):
    torch = pytest.importorskip("torch")
    quats = wxyz(random_rotations)
    result = rotations.quats_to_matrices(torch.from_numpy(quats))
    assert isinstance(result, torch.Tensor)
    assert np.allclose(result.numpy(), rotations.quats_to_matrices(quats), atol=1e-15)


def test_exponentials_equal_scipys(random_rotations):
    from scipy.linalg import expm

    vectors = random_rotations.as_rotvec()
    assert np.allclose(rotations.so3_exp(vectors), random_rotations.as_matrix(), atol=1e-12)
    for vector in (vectors[0], 1e-7 * vectors[1], np.zeros(3)):
        x, y, z = vector
        twist = np.array([[0, -z, y, 0.3], [z, 0, -x, -2.0], [-y, x, 0, 1.0], [0, 0, 0, 0]])
        motion = rotations.se3_exp(np.array([0.3, -2.0, 1.0, x, y, z]))
        assert np.allclose(motion, expm(twist), atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 0.5, np.pi - 1e-9])
def test_the_logarithm_is_the_inverse(angle):
    vector = angle * np.array([[0.6, 0.0, -0.8], [0.0, 1.0, 0.0]])
    assert np.allclose(rotations.so3_log(rotations.so3_exp(vector)), vector, atol=1e-12)


def test_the_exponential_is_differentiable_at_no_rotation():
    torch = pytest.importorskip("torch")
    vector = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(rotations.so3_exp(vector)[1, 0], vector)
    assert np.allclose(gradient.numpy(), [0, 0, 1])


def test_the_nearest_rotation_undoes_a_stretch_and_refuses_a_mirror(random_rotations):
    matrices = random_rotations.as_matrix()
    stretch = np.diag([0.9, 1.0, 1.2])
    assert np.allclose(rotations.nearest_rotation(matrices @ stretch), matrices, atol=1e-12)
    # Of all rotations the one nearest to a mirror of unequal stretch leaves the stronger axes.
    assert np.allclose(rotations.nearest_rotation(np.diag([1.2, 1.1, -0.5])), np.eye(3), atol=1e-12)


def test_a_rigid_motion_rotates_and_then_translates(random_rotations):
    points, shifts = np.random.default_rng(0).normal(size=(2, 200, 3))
    motions = rotations.rigid_motions(random_rotations.as_matrix(), shifts)
    moved = np.einsum("nij,nj->ni", motions, np.append(points, np.ones((200, 1)), axis=1))
    assert np.allclose(moved[:, :3], random_rotations.apply(points) + shifts, atol=1e-12)
    assert np.array_equal(moved[:, 3], np.ones(200))


def test_the_orthonormality_error_is_that_of_the_axes(random_rotations):
    assert rotations.orthonormality_error(random_rotations.as_matrix()).max() < 1e-14
    assert rotations.orthonormality_error(np.diag([1.0, 1.1, -0.8])) == pytest.approx(0.36)  # |0.8^2 - 1|
    assert rotations.orthonormality_error(np.array([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 1]])) == pytest.approx(0.5)
