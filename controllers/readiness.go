package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/assetplatform/assetplatform/internal/config"
)

const (
	readinessTimeout  = 2 * time.Second // of one pod
	readinessPatience = 5 * time.Second // of all
	readinessLimit    = 64 << 10        // bytes of an answer
	readinessWorkers  = 8
)

// ReadinessReader asks server pods for the state of their dependencies.
type ReadinessReader struct {
	Client *http.Client
}

// NewReadinessReader uses connections of its own, short-lived: pods come and go.
func NewReadinessReader() ReadinessReader {
	return ReadinessReader{Client: &http.Client{
		Timeout: readinessTimeout, Transport: &http.Transport{DisableKeepAlives: true},
		// What a pod runs is the user's choice: it must not send the operator elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// readAll asks the running pods, some at a time. A pod that does not answer is left
// out: that it does not is its own probe's business.
func (r ReadinessReader) readAll(ctx context.Context, pods []corev1.Pod) []config.Readiness {
	ctx, cancel := context.WithTimeout(ctx, readinessPatience)
	defer cancel()
	answers := make([]*config.Readiness, len(pods))
	slots := make(chan struct{}, readinessWorkers)
	var asked sync.WaitGroup
	for i, pod := range pods {
		if pod.Status.PodIP == "" || pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil {
			continue
		}
		asked.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if answer, err := r.read(ctx, pod.Status.PodIP); err == nil {
				answers[i] = &answer
			}
		})
	}
	asked.Wait()
	var got []config.Readiness
	for _, answer := range answers {
		if answer != nil {
			got = append(got, *answer)
		}
	}
	return got
}

func (r ReadinessReader) read(ctx context.Context, ip string) (answer config.Readiness, err error) {
	url := "http://" + net.JoinHostPort(ip, strconv.Itoa(config.ServerPort)) + config.PathReady
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return answer, err
	}
	resp, err := r.Client.Do(req)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, readinessLimit)).Decode(&answer); err != nil {
		return answer, fmt.Errorf("readiness of %s: %w", ip, err)
	}
	return answer, nil
}
