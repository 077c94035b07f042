package scim

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/secret"
)

// Config is one source that a SCIM client pushes to.
type Config struct {
	// Tokens are references to the client's bearer tokens: one, or two while the
	// client changes from one to the other. What a reference leads to is the token,
	// of at least 32 characters, or "sha256:" and the token's SHA-256 in hexadecimal,
	// so that the token itself is at the client only (Rule SCIM-1).
	Tokens []secret.Ref `yaml:"tokens,required"`
	// ClientCertificates are the SHA-256 of the client's TLS certificates, in
	// hexadecimal: where there is one, or two while the client changes, a request must
	// come over a connection that showed one of them, besides its token.
	ClientCertificates []string `yaml:"client_certificates"`
	// ClientSubjects are the subjects of such certificates, as RFC 2253 writes them,
	// which the authorities of ClientCAFile must have signed: for clients whose
	// certificate is renewed often. Either both are set or none.
	ClientSubjects []string `yaml:"client_subjects"`
	ClientCAFile   string   `yaml:"client_ca_file"`
	// URL is how the client reaches this server, such as https://ambit.example.com,
	// where that is not how the server sees itself, behind a proxy. It goes into
	// the locations of resources.
	URL string `yaml:"url"`
}

const (
	maxTokens = 2
	minToken  = 32 // characters
)

// Validate reports every fault that can be seen without reading the tokens.
func (c Config) Validate() error {
	var faults []error
	if len(c.Tokens) == 0 || len(c.Tokens) > maxTokens {
		faults = append(faults, errors.New("tokens: want one, or two while the client changes from one to the other"))
	}
	for _, t := range c.Tokens {
		switch err := t.Validate(); {
		case err != nil:
			faults = append(faults, fmt.Errorf("tokens: %w", err))
		case t == "":
			faults = append(faults, errors.New("tokens: want references to secrets"))
		}
	}
	if _, err := c.hashes(); err != nil {
		faults = append(faults, err)
	}
	if err := c.checkSubjects(); err != nil {
		faults = append(faults, err)
	}
	if c.URL != "" {
		u, err := url.Parse(c.URL)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			faults = append(faults, errors.New("url: want an https URL, such as https://ambit.example.com"))
		}
	}
	return errors.Join(faults...)
}

// credentials are the hashes of a source's tokens.
type credentials [][sha256.Size]byte

func (c Config) credentials() (credentials, error) {
	var out credentials
	for _, ref := range c.Tokens {
		value, err := ref.Resolve()
		if err != nil {
			return nil, fmt.Errorf("tokens: %w", err)
		}
		var hash [sha256.Size]byte
		if digest, ok := strings.CutPrefix(string(value), "sha256:"); ok {
			b, err := hex.DecodeString(digest)
			if err != nil || copy(hash[:], b) != len(hash) || len(b) != len(hash) {
				return nil, fmt.Errorf("tokens: %s holds no SHA-256 in hexadecimal after sha256:", ref)
			}
		} else {
			if len(value) < minToken {
				return nil, fmt.Errorf("tokens: %s is shorter than %d characters; make one with: openssl rand -base64 32", ref, minToken)
			}
			hash = sha256.Sum256(value)
		}
		out = append(out, hash)
	}
	return out, nil
}

// has tells whether a token is one of them, in a time that does not tell how much
// of it is right.
func (c credentials) has(token string) bool {
	hash, found := sha256.Sum256([]byte(token)), 0
	for i := range c {
		found |= subtle.ConstantTimeCompare(hash[:], c[i][:])
	}
	return found == 1
}

// offline is a source for `ambit validate`, which opens no store.
type offline struct {
	id     directory.SourceID
	config Config
}

// NewOffline makes a reader that can be probed and not be read.
func NewOffline(id directory.SourceID, c Config) (directory.Reader, error) {
	return offline{id, c}, nil
}

func (o offline) Read(context.Context, directory.Start, func(directory.Mode) error, func(directory.Page) error) error {
	return fmt.Errorf("source %s is read by the daemon: %w", o.id, directory.ErrIncomplete)
}

func (o offline) Probe(context.Context) ([]string, error) {
	known, err := o.config.credentials()
	if err != nil {
		return nil, err
	}
	fact := fmt.Sprintf("clients push to %s%s with one of %d tokens", Root, o.id, len(known))
	if _, err := o.config.pins(); err != nil {
		return nil, err
	}
	if n := len(o.config.ClientCertificates) + len(o.config.ClientSubjects); n > 0 {
		fact += fmt.Sprintf(" and one of %d client certificates", n)
	}
	return []string{fact}, nil
}
