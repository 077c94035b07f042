package sqlite_test

import (
	"testing"

	"github.com/ambit-iam/ambit/store/storetest"
)

func TestContract(t *testing.T) { storetest.Run(t, storetest.SQLite) }
