package storetest_test

import (
	"testing"

	"github.com/ambit-iam/ambit/store/storetest"
)

func TestBothDatabasesAnswerAlike(t *testing.T) {
	storetest.Alike(t, storetest.SQLite(t), storetest.PostgreSQL(t))
}
