//! `.npy` and `.npz` reading and writing of integer tensors.
