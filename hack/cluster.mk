# The local cluster, images and the demo; included by the Makefile.
#   CLUSTER       where the demo runs: local (made by hack/cluster), current (what kubectl points at) or kind
#   CLUSTER_NAME  which local cluster; several run side by side
#   IMAGE         CLUSTER=current: an image of this project that the cluster can pull
CLUSTER      ?= local
CLUSTER_NAME ?= demo
export CLUSTER CLUSTER_NAME
ifdef IMAGE
export IMAGE
endif

.PHONY: cluster-up cluster-down cluster-status images demo demo-down

cluster-up: ## Start a one-node Kubernetes on this machine (about 12 min cold on 2 cores, seconds warm)
	@hack/cluster/cluster up

cluster-down: ## Stop it; its state stays (hack/cluster/cluster down --purge removes it)
	@hack/cluster/cluster down

cluster-status: ## Show its node, pods, add-ons and addresses
	@hack/cluster/cluster status

images: ## Build the project's images as OCI archives and print their paths
	@hack/images/build assetplatform postgres redis s3

demo: ## From nothing to a running platform, with one upload and download (CLUSTER=local|current|kind)
	@hack/demo up

demo-down: ## Remove everything that the demo made
	@hack/demo down
