// Command ambit syncs directories into an authorization store, grants roles for
// a time, and answers who may do what. Each subcommand stands in a file of its
// own; main ties the rooms together and decides nothing.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version is set when a release is built.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	if terminal(os.Stderr) {
		s.screen = os.Stderr
	}
	os.Exit(run(ctx, s, os.Args[1:]))
}
