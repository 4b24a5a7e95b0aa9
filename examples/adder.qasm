// Adds two numbers of two bits: 3 + 2, with the carry in the last bit of the answer.
OPENQASM 2.0;
include "qelib1.inc";

gate majority a, b, c { cx c, b; cx c, a; ccx a, b, c; }
gate unmajority a, b, c { ccx a, b, c; cx c, a; cx a, b; }

qreg cin[1];
qreg a[2];
qreg b[2];
qreg cout[1];
creg answer[3];

x a[0];
x a[1];
x b[1];
majority cin[0], b[0], a[0];
majority a[0], b[1], a[1];
cx a[1], cout[0];
unmajority a[0], b[1], a[1];
unmajority cin[0], b[0], a[0];
measure b[0] -> answer[0];
measure b[1] -> answer[1];
measure cout[0] -> answer[2];
