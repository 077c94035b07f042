package configs

import "embed"

// Demo holds the files of configs/demo, as `ambit demo` uses them.
//
//go:embed demo/*.yaml
var Demo embed.FS
