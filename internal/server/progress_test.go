package server

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// What the server does between two reads is not the client's time, in HTTP/2 as little as in HTTP/1.
func TestPaceIsTheClients(t *testing.T) {
	t.Parallel()
	const pace, size = 100 * time.Millisecond, 8 << 20
	for _, http2 := range []bool{false, true} {
		var read int64
		var failed error
		s := &Server{progressTime: pace}
		front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body := s.paced(w, r)
			_, failed = io.ReadFull(body, make([]byte, 100))
			<-time.After(4 * pace)
			if failed == nil {
				read, failed = io.Copy(io.Discard, body)
			}
		}))
		front.EnableHTTP2 = http2
		front.StartTLS()
		answer, err := front.Client().Post(front.URL, tusBody, bytes.NewReader(make([]byte, size)))
		if err == nil {
			answer.Body.Close()
		}
		front.Close()
		if err != nil || failed != nil || read != size-100 {
			t.Errorf("HTTP/2 %t: %d bytes, %v, %v", http2, read, failed, err)
		}
	}
}
