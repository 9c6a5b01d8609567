// Package configs holds the configurations that programs carry within them. It owns nothing else, and never reads a file at run time.
package configs

import "embed"

// Demo is the folder demo: the schema, the policy and the model of `node demo`.
//
//go:embed demo
var Demo embed.FS
