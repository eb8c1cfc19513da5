"""The energy landscape of a variational circuit for the hydrogen molecule, exactly, at 10,100 points.

The Hamiltonian of H2 at 0.735 angstrom in the STO-3G basis, on two qubits after the parity mapping (O'Malley et al., Phys. Rev. X 6,
031007, 2016, for the reduction); the energies are in hartree.
"""

import numpy as np

import procjob

H2 = {
    "II": -1.052373245772859,
    "IZ": 0.39793742484318045,
    "ZI": -0.39793742484318045,
    "ZZ": -0.01128010425623538,
    "XX": 0.18093119978423156,
}
NUCLEAR_REPULSION = 0.7199689944489797

theta, phi = procjob.Parameter("theta"), procjob.Parameter("phi")
ansatz = procjob.Circuit(2).ry(theta, 0).ry(phi, 1).cx(1, 0)

angles = np.linspace(-np.pi, np.pi, 101)
result = procjob.sweep(
    ansatz, procjob.grid(theta=angles, phi=angles[:-1]), observables={"energy": H2}, workers=2, progress=False
)

energy = result["energy"] + NUCLEAR_REPULSION
lowest = np.unravel_index(energy.argmin(), energy.shape)
paulis = {"I": np.eye(2), "X": np.array([[0, 1], [1, 0]]), "Z": np.diag([1, -1])}
matrix = sum(factor * np.kron(paulis[a], paulis[b]) for (a, b), factor in H2.items())
exact = np.linalg.eigvalsh(matrix)[0] + NUCLEAR_REPULSION
print(
    f"{len(result)} points, lowest energy {energy.min():.5f} at theta {angles[lowest[0]]:.3f}, phi {angles[lowest[1]]:.3f}"
)
print(f"exact ground state energy {exact:.5f}")

result.plot("theta", "energy", by="phi", kind="heatmap").figure.savefig("h2_landscape.png")
