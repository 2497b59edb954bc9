package store

import (
	"testing"
	"time"

	"github.com/google/uuid"
)

// What took long to count is kept for a moment, for its user alone; what did not is counted each time.
func TestCountsOfLargeLibrariesAreKept(t *testing.T) {
	t.Parallel()
	var kept recent[uuid.UUID, []NameCount]
	calls := 0
	get := func(user uuid.UUID, takes time.Duration) {
		t.Helper()
		names, err := kept.get(user, keepNames, func() ([]NameCount, error) {
			calls++
			time.Sleep(takes)
			return []NameCount{{user.String(), 1}}, nil
		})
		if err != nil || len(names) != 1 || names[0].Name != user.String() {
			t.Fatalf("%v, %v", names, err)
		}
	}
	small, large, other := uuid.New(), uuid.New(), uuid.New()
	for range 3 {
		get(small, 0)
		get(large, 2*quickCount)
		get(other, 2*quickCount)
	}
	if calls != 5 {
		t.Errorf("counted %d times, want 3 and 1 and 1", calls)
	}
	kept.of[large] = counted[[]NameCount]{kept.of[large].value, time.Now()}
	get(large, 2*quickCount)
	if calls != 6 {
		t.Error("what was kept long enough is not counted again")
	}
}
