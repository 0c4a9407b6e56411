//! Offerings, volumes, snapshots and jobs that survive a crash
