package main

// instructions reads the guest's clock: with qemu's -icount shift=0 the time stamp
// counter advances by one an executed instruction. The kernel's clocks are derived
// from it and off by its calibration, a few parts in a million.
func instructions() int64
