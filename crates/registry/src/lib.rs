//! Where instances come from: sources behind one trait.
