//! What services write: files, their rotation, and reading them.
