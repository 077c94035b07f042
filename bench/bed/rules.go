package bed

import (
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/mapping"
	"github.com/ambit-iam/ambit/model"
	dirsync "github.com/ambit-iam/ambit/sync"
	"github.com/ambit-iam/ambit/tenant"
)

// Compile compiles the text of mapping rules for the model's environments and one
// source, corp.
func Compile(held *tenant.Tenant, m *model.Model, text string) (rules *mapping.Rules, err error) {
	file, err := mapping.Parse("mapping.yaml", []byte(text))
	if err != nil {
		return nil, err
	}
	err = held.Read(func(v tenant.View) error {
		rules, err = file.Compile(mapping.Names{Sources: []directory.SourceID{"corp"}, Environments: dirsync.Names(m, v)})
		return err
	})
	return rules, err
}
