//! Layers of configuration -> validated `Settings`.
