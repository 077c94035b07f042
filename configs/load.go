package configs

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/ambit-iam/ambit/connectors/entra"
	"github.com/ambit-iam/ambit/connectors/file"
	"github.com/ambit-iam/ambit/connectors/ldap"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/scim"
)

var levels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

// Logger makes the daemon's logger.
func (c *Config) Logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: levels[c.Log.Level]}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// Readers makes the connector of each source. pushed makes those of sources that
// clients push to.
func (c *Config) Readers(pushed func(directory.SourceID, scim.Config) (directory.Reader, error)) (map[directory.SourceID]directory.Reader, error) {
	readers := map[directory.SourceID]directory.Reader{}
	for _, s := range c.Sources {
		var reader directory.Reader
		var err error
		switch {
		case s.LDAP != nil:
			own := *s.LDAP
			own.CAFile = c.File(own.CAFile)
			reader, err = ldap.New(own)
		case s.ActiveDirectory != nil:
			own := *s.ActiveDirectory
			own.CAFile = c.File(own.CAFile)
			reader, err = ldap.NewAD(own)
		case s.SCIM != nil:
			own := *s.SCIM
			own.ClientCAFile = c.File(own.ClientCAFile)
			reader, err = pushed(s.ID, own)
		case s.File != nil:
			reader, err = file.New(*s.File, c.File)
		default:
			own := *s.Entra
			own.CAFile = c.File(own.CAFile)
			reader, err = entra.New(own)
		}
		if err != nil {
			return nil, fmt.Errorf("source %s: %w", s.ID, err)
		}
		readers[s.ID] = reader
	}
	return readers, nil
}
