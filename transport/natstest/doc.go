// Package natstest starts NATS servers for tests: embedded ones that can be stopped and started again on the same folder, and real
// processes that can be killed and suspended. Every server ends with its test. It is for tests only.
package natstest
