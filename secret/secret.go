// Package secret resolves references to secrets, so that configuration files
// name where a secret is and never hold it (Rules SRC-12, SEC-5).
//
// It does not keep, cache or print a secret.
package secret

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Ref says where a secret is: "file:PATH", "env:NAME" or "credential:NAME" (the
// service manager's, in $CREDENTIALS_DIRECTORY). The empty Ref means none.
type Ref string

const maxSize = 1 << 20 // bytes; a certificate chain with its key fits many times

// Validate checks the reference's form without reading the secret.
func (r Ref) Validate() error {
	kind, name, ok := strings.Cut(string(r), ":")
	if r == "" || ok && name != "" && (kind == "file" || kind == "env" || kind == "credential") {
		return nil
	}
	// What was written may be the secret itself, so it is not repeated.
	return errors.New("a secret is given by reference: file:PATH, env:NAME or credential:NAME")
}

// Resolve reads the secret; one line end at its end is dropped. An absent or
// empty secret is an error.
func (r Ref) Resolve() ([]byte, error) {
	if r == "" {
		return nil, errors.New("no secret is configured")
	}
	if err := r.Validate(); err != nil {
		return nil, err
	}
	kind, name, _ := strings.Cut(string(r), ":")
	var value []byte
	switch kind {
	case "env":
		value = []byte(os.Getenv(name))
	case "credential":
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return nil, fmt.Errorf("secret %s: the service manager gave no credentials (CREDENTIALS_DIRECTORY is not set)", r)
		}
		if name != filepath.Base(name) {
			return nil, fmt.Errorf("secret %s: a credential's name has no path", r)
		}
		name = filepath.Join(dir, name)
		fallthrough
	case "file":
		info, err := os.Stat(name)
		if err != nil {
			return nil, fmt.Errorf("secret %s: %w", r, err)
		}
		if info.Size() > maxSize {
			return nil, fmt.Errorf("secret %s: larger than %d bytes", r, maxSize)
		}
		if value, err = os.ReadFile(name); err != nil {
			return nil, fmt.Errorf("secret %s: %w", r, err)
		}
	}
	value = bytes.TrimSuffix(bytes.TrimSuffix(value, []byte("\n")), []byte("\r"))
	if len(value) == 0 {
		return nil, fmt.Errorf("secret %s is empty or not set", r)
	}
	return value, nil
}
