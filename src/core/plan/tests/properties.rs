//! Properties that hold for any course of events.
