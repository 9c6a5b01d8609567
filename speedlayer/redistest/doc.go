// Package redistest starts real Redis processes for tests: one server, a Cluster of three masters, or a Sentinel set, on free loopback
// ports, with their data in temporary directories. They end with the test. Without the redis-server binary a test fails; it
// is never skipped.
package redistest
