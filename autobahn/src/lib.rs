//! Agents for the Autobahn test suite.
