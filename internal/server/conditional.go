package server

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// delivery is what RFC 9110 wants done for a request of a representation.
type delivery struct {
	status int         // 200, 206, 304, 412 or 416
	ranges []byteRange // to send with 200 and 206: one with 200
}

// byteRange is a part of a file.
type byteRange struct {
	start, length int64
}

// deliver judges the conditions (RFC 9110, 13.2.2) and the range (14.2) of a GET or HEAD
// for bytes of this strong etag (with its quotes), time of change and size. What is not a
// range, and ranges that together are more than the whole, are answered with the whole.
func deliver(r *http.Request, etag string, changed time.Time, size int64) delivery {
	changed = changed.Truncate(time.Second) // dates in headers have no more
	h := r.Header
	whole := delivery{http.StatusOK, []byteRange{{0, size}}}

	if match := h.Get("If-Match"); match != "" {
		if !matches(match, etag, false) {
			return delivery{status: http.StatusPreconditionFailed}
		}
	} else if since, err := http.ParseTime(h.Get("If-Unmodified-Since")); err == nil && changed.After(since) {
		return delivery{status: http.StatusPreconditionFailed}
	}
	if none := h.Get("If-None-Match"); none != "" {
		if matches(none, etag, true) {
			return delivery{status: http.StatusNotModified}
		}
	} else if since, err := http.ParseTime(h.Get("If-Modified-Since")); err == nil && !changed.After(since) {
		return delivery{status: http.StatusNotModified}
	}
	if r.Method != http.MethodGet || !rangeWanted(h.Get("If-Range"), etag, changed) {
		return whole
	}
	ranges, ok := parseRanges(h.Get("Range"), size)
	switch {
	case !ok:
		return whole
	case len(ranges) == 0:
		return delivery{status: http.StatusRequestedRangeNotSatisfiable}
	}
	return delivery{http.StatusPartialContent, ranges}
}

// matches tells whether a list of entity tags, or *, has this one. Weak tags are equal
// to strong ones only if weak is set (RFC 9110, 8.8.3.2). Tags of ours hold no commas.
func matches(list, etag string, weak bool) bool {
	for tag := range strings.SplitSeq(list, ",") {
		tag = strings.TrimSpace(tag)
		if weak {
			tag = strings.TrimPrefix(tag, "W/")
		}
		if tag == etag || tag == "*" {
			return true
		}
	}
	return false
}

// assetTag is the strong entity tag of what JSON says about an asset that was edited last at that time, to the microsecond. What
// comes by itself, such as what a job reads from the file, is another representation but no edit: it is behind the dot, and
// If-Match does not look there, for nobody's edit could get lost. An entity tag is one address's, so that the asset's id need not be in it.
func assetTag(changed time.Time, body any) string {
	return fmt.Sprintf(`"%x.%s"`, changed.UnixMicro(), strings.Trim(contentTag(body), `"`))
}

var assetTagForm = regexp.MustCompile(`^"([1-9a-f][0-9a-f]{0,14})\.[0-9a-f]{16}"$`)

// versionsOf are the times that the assetTags of an If-Match header stand for; none if
// every version will do. A tag that is none of ours stands for a time that no object has.
func versionsOf(match string) []time.Time {
	if match == "" {
		return nil
	}
	var versions []time.Time
	for tag := range strings.SplitSeq(match, ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" {
			return nil
		}
		var version time.Time
		if parts := assetTagForm.FindStringSubmatch(tag); parts != nil {
			micros, _ := strconv.ParseInt(parts[1], 16, 64) // the form has been checked
			version = time.UnixMicro(micros)
		}
		versions = append(versions, version)
	}
	return versions
}

// rangeWanted tells whether If-Range lets the range count: the client's part is of these bytes.
func rangeWanted(condition, etag string, changed time.Time) bool {
	if condition == "" || condition == etag {
		return true
	}
	date, err := http.ParseTime(condition)
	return err == nil && date.Equal(changed)
}

// maxRanges bounds the ranges of one request: each is read from the bucket by itself.
const maxRanges = 16

// parseRanges reads byte ranges, without those that lie behind the end. ok is false if the header is to be ignored.
func parseRanges(header string, size int64) (ranges []byteRange, ok bool) {
	unit, specs, _ := strings.Cut(header, "=")
	if !strings.EqualFold(strings.TrimSpace(unit), "bytes") || strings.Count(specs, ",") >= maxRanges {
		return nil, false
	}
	sum := int64(0)
	for spec := range strings.SplitSeq(specs, ",") {
		if strings.TrimSpace(spec) == "" { // RFC 9110, 5.6.1
			continue
		}
		r, valid := parseRange(spec, size)
		if !valid {
			return nil, false
		}
		if r.length > 0 {
			ranges, sum = append(ranges, r), sum+r.length
		}
	}
	return ranges, sum <= size
}

// parseRange reads one of them; a length of 0 means that it cannot be satisfied.
func parseRange(spec string, size int64) (r byteRange, ok bool) {
	first, last, dash := strings.Cut(spec, "-")
	if !dash {
		return r, false
	}
	first, last = strings.TrimSpace(first), strings.TrimSpace(last)
	if first == "" { // the last so many bytes
		n, valid := parseOffset(last)
		n = min(n, size)
		return byteRange{size - n, n}, valid
	}
	start, valid := parseOffset(first)
	if !valid {
		return r, false
	}
	end := size - 1
	if last != "" {
		if end, valid = parseOffset(last); !valid || end < start {
			return r, false
		}
		end = min(end, size-1)
	}
	return byteRange{start, max(0, end-start+1)}, true
}

// parseOffset reads digits; more of them than an int64 holds mean the largest.
func parseOffset(text string) (int64, bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		n = 1<<63 - 1
	}
	return n, true
}
