"""QAOA for MaxCut: one layer on a ring of ten vertices with chords, over a grid of its two angles."""

from itertools import product

import numpy as np

import procjob

VERTICES = 10
EDGES = [(v, (v + 1) % VERTICES) for v in range(VERTICES)] + [(v, v + VERTICES // 2) for v in range(VERTICES // 2)]

gamma, beta = procjob.Parameter("gamma"), procjob.Parameter("beta")
circuit = procjob.Circuit(VERTICES)
for vertex in range(VERTICES):
    circuit.h(vertex)
for a, b in EDGES:
    circuit.rzz(gamma, a, b)
for vertex in range(VERTICES):
    circuit.rx(2 * beta, vertex)

# An edge is cut where its ends differ: (1 - Z Z) / 2.
agreement = {f"Z{a} Z{b}": 1.0 for a, b in EDGES}
points = procjob.grid(gamma=np.linspace(0, np.pi, 41), beta=np.linspace(0, np.pi / 2, 41))
result = procjob.sweep(circuit, points, observables={"agreement": agreement}, workers=2, progress=False)

cut = (len(EDGES) - result["agreement"]) / 2
best = np.unravel_index(cut.argmax(), cut.shape)
largest = max(sum(side[a] != side[b] for a, b in EDGES) for side in product((0, 1), repeat=VERTICES))
print(
    f"{len(result)} points; best mean cut {cut.max():.3f} of {len(EDGES)} edges, at random {cut[0, 0]:.3f}, largest {largest}"
)

# Draw cuts at the best angles.
angles = {"gamma": [result["gamma"][best]], "beta": [result["beta"][best]]}
counts = procjob.sweep(circuit.measure_all(), procjob.grid(**angles), shots=2000, seed=3, workers=0, progress=False)[
    "counts"
]
found = max(sum(bits[a] != bits[b] for a, b in EDGES) for bits in counts.ravel()[0])
print(f"best of 2000 shots: {found}")

result.plot("gamma", "agreement", by="beta", kind="heatmap").figure.savefig("qaoa_grid.png")
