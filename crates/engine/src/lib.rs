//! Workers, listeners, the way of a request.
