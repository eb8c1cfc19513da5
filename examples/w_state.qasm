OPENQASM 2.0;
include "qelib1.inc";

// The W state of three qubits: 001, 010 and 100, a third each.
gate cry_half(theta) control, target {
  ry(theta / 2) target;
  cx control, target;
  ry(-theta / 2) target;
  cx control, target;
}

qreg q[3];
creg c[3];

ry(1.9106332362490184) q[0];  // 2 arccos(1 / sqrt(3))
cry_half(pi / 2) q[0], q[1];
cx q[1], q[2];
cx q[0], q[1];
x q[0];
measure q -> c;
