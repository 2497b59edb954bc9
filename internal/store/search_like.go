package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A search that finds nothing finds what is like it: names in which a word has a letter or two wrong.

const (
	mostCandidates = 200 // assets that are compared letter by letter, for each way in which one can be like a search
	likeLength     = 4   // characters that a search has at least which is compared so
	likeTime       = 100 // milliseconds after which nothing was found
)

// mostMistakes is how many mistakes a name may have that is like a word.
func mostMistakes(word []rune) int {
	if len(word) < 2*likeLength {
		return 1
	}
	return 2
}

// likePieces are the ways in which a name can be like a word that is nowhere: the pieces of the word that such a name holds as they are.
// With one mistake, one of two is without any; with two mistakes, two of four.
func likePieces(word []rune) (ways [][]string) {
	cut := func(n int) (pieces []string) {
		for i := range n {
			pieces = append(pieces, string(word[i*len(word)/n:(i+1)*len(word)/n]))
		}
		return pieces
	}
	if mostMistakes(word) == 1 {
		for _, piece := range cut(2) {
			ways = append(ways, []string{piece})
		}
		return ways
	}
	pieces := cut(4)
	for i, a := range pieces {
		for _, b := range pieces[i+1:] {
			ways = append(ways, []string{a, b})
		}
	}
	return ways
}

// misspelt are the words of a search that nothing in the library holds, the longest first, and the others.
func (s *Store) misspelt(ctx context.Context, l library, words search) (wrong, right []string, err error) {
	if len(words.words) == 1 { // and it finds nothing
		return words.words, nil, nil
	}
	known, args := []string{}, l.q.args
	for _, word := range words.words {
		q := conditions{parts: slices.Clone(l.q.parts), args: args}
		search{words: []string{word}, owners: words.owners}.somewhere(&q)
		args = q.args
		known = append(known, "exists (select from "+l.from+q.where()+")")
	}
	found, err := readBounded[struct{ Known []bool }](ctx, s, "select array["+strings.Join(known, ", ")+"]", conditions{args: args})
	if err != nil || len(found) == 0 {
		return nil, nil, err
	}
	for i, word := range words.words {
		if found[0].Known[i] {
			right = append(right, word)
		} else {
			wrong = append(wrong, word)
		}
	}
	slices.SortStableFunc(wrong, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return wrong, right, nil
}

// likeAssets is what is like a search that finds nothing: assets that hold those of its words that something in the library holds, and
// whose names hold each other word with a letter or two wrong, missing or too many.
func (s *Store) likeAssets(ctx context.Context, l library, words search, limit int) ([]Asset, error) {
	if len(words.words) == 0 || len(words.owners) == 0 {
		return nil, nil
	}
	texts, right, err := s.misspelt(ctx, l, words)
	if err != nil || len(texts) == 0 {
		return nil, err
	}
	wrong := make([][]rune, len(texts))
	for i, text := range texts {
		wrong[i] = []rune(text)
		if len(wrong[i]) < likeLength || len(wrong[i]) > maxLetters {
			return nil, nil
		}
	}
	search{words: right, owners: words.owners}.somewhere(&l.q)
	candidates, err := s.likeCandidates(ctx, l, words, wrong[0])
	if err != nil || len(candidates) == 0 {
		return nil, err
	}
	for i := range candidates {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		candidates[i].compare(wrong)
	}
	candidates = slices.DeleteFunc(candidates, func(c candidate) bool { return !c.like })
	slices.SortFunc(candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), b.CreatedAt.Compare(a.CreatedAt), bytes.Compare(b.ID[:], a.ID[:]))
	})
	candidates = candidates[:min(len(candidates), limit)]
	if len(candidates) == 0 {
		return nil, nil
	}
	ids, places := make([]uuid.UUID, len(candidates)), map[uuid.UUID]int{}
	for i, c := range candidates {
		ids[i], places[c.ID] = c.ID, i
	}
	assets, _, err := s.readAssets(ctx, l.only(ids), Page{Sort: SortCreatedAt, Limit: limit})
	slices.SortFunc(assets, func(a, b Asset) int { return cmp.Compare(places[a.ID], places[b.ID]) })
	return assets, err
}

// candidate is an asset whose name may be like a search.
type candidate struct {
	ID        uuid.UUID
	Name      string
	CreatedAt time.Time

	like     bool
	distance int // letters, of all words
}

// compare tells whether the name holds each word with no more mistakes than a word of its length may have.
func (c *candidate) compare(words [][]rune) {
	c.like = true
	for _, word := range words {
		d := distance(word, []rune(c.Name), mostMistakes(word))
		c.like = c.like && d <= mostMistakes(word)
		c.distance += d
	}
}

// likeCandidates are assets whose names hold pieces of a word.
func (s *Store) likeCandidates(ctx context.Context, l library, words search, word []rune) ([]candidate, error) {
	var selections []string
	args := l.q.args
	for _, pieces := range likePieces(word) {
		held := conditions{args: args}
		words.indexed(&held, pieces, inName)
		args = held.args
		// What the index finds, and then what of it is in the library: the planner takes two pieces that are often together, or never, for
		// independent, and would rather go through the library. In no order: to sort takes longer than to find. And a limit for each, so
		// that what is rare is not lost among what is not.
		selections = append(selections, fmt.Sprintf("(select id, %s as name, created_at from (select * from assets%s offset 0) %s%s limit %d)",
			firstText, held.where(), l.from, l.q.where(), mostCandidates))
	}
	candidates, err := readBounded[candidate](ctx, s, strings.Join(selections, " union all "), conditions{args: args})
	known := map[uuid.UUID]bool{}
	candidates = slices.DeleteFunc(candidates, func(c candidate) bool {
		seen := known[c.ID]
		known[c.ID] = true
		return seen
	})
	return candidates, err
}

// readBounded runs a selection by the indexes alone, and for likeTime at most: then it finds nothing.
func readBounded[Row any](ctx context.Context, s *Store, selection string, q conditions) (found []Row, err error) {
	err = pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, fmt.Sprintf("set local enable_seqscan = off; set local statement_timeout = %d", likeTime)); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, selection, q.planned()...)
		if err == nil {
			found, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Row])
		}
		return err
	})
	var server *pgconn.PgError
	if errors.As(err, &server) && server.Code == stateQueryCanceled {
		return nil, nil
	}
	return found, err
}

// distance is how many letters have to be put in, left out or changed to find pattern in text (Sellers 1980), or more than most. Only as
// far down as it can be that few is each column filled in (Ukkonen 1985).
func distance(pattern, text []rune, most int) int {
	column := make([]int, len(pattern)+1)
	for i := range column {
		column[i] = i
	}
	best := len(pattern)
	last := min(most, len(pattern)) // the lowest that is no more than most
	for _, letter := range text {
		before := 0 // the pattern may begin anywhere
		end := min(last+1, len(pattern))
		for i := 1; i <= end; i++ {
			changed := before
			if pattern[i-1] != letter {
				changed++
			}
			before = column[i]
			column[i] = min(changed, column[i]+1, column[i-1]+1)
		}
		for last = end; column[last] > most; last-- {
		}
		if last == len(pattern) {
			best = min(best, column[last])
		}
	}
	return min(best, most+1)
}
