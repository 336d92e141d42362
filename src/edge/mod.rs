//! Layer 4: the edge, the only place that says `unsafe`.
