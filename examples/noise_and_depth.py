"""How noise grows with depth: layers that undo themselves, so that without noise every shot gives zeros. Ten runs a point, with error bars."""

import numpy as np

import procjob
from procjob.simulators import NoiseModel, StatevectorSimulator


def survival(depth, error, run, seed):
    """Return the share of shots that end in |000>; `run` only tells repetitions apart, so that each has a seed of its own."""
    circuit = procjob.Circuit(3)
    for _ in range(depth):
        circuit.h(0).cx(0, 1).cx(1, 2).cx(1, 2).cx(0, 1).h(0)
    noise = NoiseModel().depolarizing(error) if error else None
    result = StatevectorSimulator(noise=noise).run(circuit.measure_all(), shots=200, seed=seed)
    return result.get_counts().get("000", 0) / 200


points = procjob.grid(depth=[1, 2, 4, 8, 16], error=[0.0, 0.002, 0.01], run=range(10))
result = procjob.sweep(survival, points, seed=7, workers=2, progress=False)

mean = result["survival"].mean(axis=2)
bar = result["survival"].std(axis=2, ddof=1) / np.sqrt(10)
print("depth " + "".join(f"{f'error {error}':>18}" for error in (0.0, 0.002, 0.01)))
for row, depth in enumerate((1, 2, 4, 8, 16)):
    print(f"{depth:5} " + "".join(f"{mean[row, column]:10.3f} ± {bar[row, column]:.3f}" for column in range(3)))

result.plot("depth", "survival", by="error").figure.savefig("noise_and_depth.png")
