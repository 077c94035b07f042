package page

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestASectionTakesThePlaceOfTheOneWithItsHeading(t *testing.T) {
	const page = "# Benchmarks\n\nhead\n\n## A\n\nold\n\n### detail\n\nold\n\n## B\n\nb\n"
	require.Equal(t, "# Benchmarks\n\nhead\n\n## A\n\nnew\n\n## B\n\nb\n", replace(page, "## A\n\nnew\n"))
	require.Equal(t, "# Benchmarks\n\nnew\n\n## A\n\nold\n\n### detail\n\nold\n\n## B\n\nb\n", replace(page, "# Benchmarks\n\nnew\n"))
	require.Equal(t, page+"\n## C\n\nc\n", replace(page, "## C\n\nc\n"))
	require.Equal(t, "## C\n\nc\n", replace("", "## C\n\nc\n"))
}
