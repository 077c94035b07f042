package sqlstore

import (
	"context"
	"fmt"

	"github.com/pressly/goose/v3"

	"github.com/ambit-iam/ambit/store"
)

// Migrate brings the schema up to date, each migration in a transaction of its
// own, so that one that was killed half-way runs again. A schema that this program
// does not know is left alone: store.ErrNewerSchema (Rule REL-11).
func Migrate(ctx context.Context, p *goose.Provider) error {
	sources := p.ListSources()
	newest := sources[len(sources)-1].Version
	found, err := p.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	if found > newest {
		return fmt.Errorf("%w: it has version %d, this program knows %d; run the newer Ambit, or restore a backup from before it",
			store.ErrNewerSchema, found, newest)
	}
	if found == newest {
		return nil
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("bring the schema from version %d to %d: %w", found, newest, err)
	}
	return nil
}
