// Package certtest makes certificate authorities, and certificates signed by them, in files that end with their test. It is for tests only.
package certtest
