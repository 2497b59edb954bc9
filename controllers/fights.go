package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// An object that is repaired fightRepairs times within fightWindow has somebody else who wants it otherwise. From then on it
// is repaired less and less often, and the platform says who that is, until nothing was changed for a while.
const (
	fightRepairs = 6
	fightWindow  = 10 * time.Minute // an autoscaler looks every quarter of a minute, GitOps tools every minute or so
	firstHold    = 10 * time.Second
	longestHold  = 5 * time.Minute
)

// fight is what is remembered of an object that had to be repaired.
type fight struct {
	repairs []time.Time // within the window
	hold    time.Duration
	until   time.Time     // no repair before
	pace    time.Duration // between the repairs that made it a fight: how often the other comes by
	rival   string        // who changes what; empty while it is no fight
}

// recent are the repairs within the window.
func (f *fight) recent(now time.Time) []time.Time {
	return slices.DeleteFunc(slices.Clone(f.repairs), func(t time.Time) bool { return now.Sub(t) > fightWindow })
}

// over says whether nothing was changed any more since the last repair, though the other had the time to.
func (f *fight) over(now time.Time) bool { return now.After(f.until.Add(max(firstHold, 2*f.pace))) }

// forgotten says whether all that is remembered is so long ago that it means nothing any more.
func (f *fight) forgotten(now time.Time) bool {
	return len(f.recent(now)) == 0 && now.After(f.until.Add(longestHold))
}

// fought is the finding about an object that is fought for; nil if it is not, or no more.
func (a *applier) fought(key objectKey, what string) *finding {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.fights[key]
	if f == nil || f.rival == "" || f.over(a.clock()) {
		return nil
	}
	return &finding{
		reason: assetv1.ReasonFieldConflict, where: what,
		problem: fmt.Sprintf("%s of %s, which the operator puts back", f.rival, what),
		remedy:  "let one of the two decide: stop the other, or set in this platform's spec what it wants",
	}
}

// holdsBack says for how long an object is not to be repaired.
func (a *applier) holdsBack(key objectKey) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f := a.fights[key]; f != nil {
		return f.until.Sub(a.clock())
	}
	return 0
}

// mayRepair says whether an object may be put right now and, where that is a fight, who has changed what.
func (a *applier) mayRepair(ctx context.Context, c comparison) (may bool, rival string, err error) {
	switch {
	case !c.proved: // it is no repair
		return true, "", nil
	case a.holdsBack(c.key) > 0:
		return false, "", nil
	case a.isFight(c.key):
		rival, err = a.rival(ctx, c.intent)
		return err == nil, rival, client.IgnoreNotFound(err)
	}
	return true, "", nil
}

// isFight says whether one more repair of an object makes it a fight.
func (a *applier) isFight(key objectKey) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.fights[key]
	return f != nil && (f.rival != "" || len(f.recent(a.clock()))+1 >= fightRepairs)
}

// repaired notes that an object had to be put right; rival, unless empty, makes it a fight.
func (a *applier) repaired(key objectKey, rival string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.clock()
	f := a.fights[key]
	if f == nil {
		f = &fight{}
	}
	if f.rival != "" && f.over(now) {
		f = &fight{repairs: f.repairs} // who comes back soon is known at once
	}
	f.repairs = append(f.recent(now), now)
	if rival != "" && len(f.repairs) >= fightRepairs || f.rival != "" {
		if f.rival == "" {
			f.pace = now.Sub(f.repairs[0]) / time.Duration(len(f.repairs)-1)
		}
		f.rival = rival
		f.hold = min(max(firstHold, 2*f.hold), longestHold)
		f.until = now.Add(f.hold)
	}
	if a.fights == nil {
		a.fights = map[objectKey]*fight{}
	}
	a.fights[key] = f
}

// rival says who has changed which field that intent sets, in words that go before "of <object>".
func (a *applier) rival(ctx context.Context, intent *unstructured.Unstructured) (string, error) {
	live := newOptional(intent.GroupVersionKind())
	if err := a.uncached.Get(ctx, client.ObjectKeyFromObject(intent), live); err != nil {
		return "", fmt.Errorf("read the managers of %s: %w", describe(intent), err)
	}
	entries := slices.DeleteFunc(live.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool {
		return e.Manager == fieldManager || e.Subresource == "status" || e.FieldsV1 == nil
	})
	slices.SortStableFunc(entries, func(x, y metav1.ManagedFieldsEntry) int { return lastChange(y).Compare(lastChange(x)) })
	for _, entry := range entries {
		var fields map[string]any
		if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields); err != nil {
			return "", fmt.Errorf("managed fields of %s: %w", describe(live), err)
		}
		if path := contested(fields, intent.Object, live.Object); path != "" {
			return fmt.Sprintf("%s keeps changing %s", entry.Manager, path), nil
		}
	}
	return "Somebody keeps changing fields", nil // by taking them out: then nobody owns them
}

func lastChange(e metav1.ManagedFieldsEntry) time.Time {
	if e.Time == nil {
		return time.Time{}
	}
	return e.Time.Time
}

// contested is the path of the first field that somebody owns, intent sets, and the live object has otherwise; empty if
// there is none.
func contested(fields map[string]any, intent, live any) string {
	for _, path := range slices.Sorted(maps.Keys(fields)) {
		inner, _ := fields[path].(map[string]any)
		wanted, _, ok := at(intent, path)
		if !ok {
			continue
		}
		is, _, _ := at(live, path)
		if len(inner) > 0 {
			if rest := contested(inner, wanted, is); rest != "" {
				return strings.TrimSuffix(pathElement(path, wanted)+"."+rest, ".")
			}
		} else if !reflect.DeepEqual(wanted, is) {
			return pathElement(path, wanted)
		}
	}
	return ""
}

// pathElement is a field's name, or the name of a list's item in brackets.
func pathElement(path string, item any) string {
	kind, name, _ := strings.Cut(path, ":")
	if kind == "f" {
		return name
	}
	if named, ok := field(item, "name").(string); ok {
		return "[" + named + "]"
	}
	return "[" + name + "]"
}
