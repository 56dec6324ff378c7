#!/usr/bin/env bash
# Weir on your own machine with Docker: a kind cluster, an S3 server in it, the image, the chart.
#   hack/kind/up.sh REGISTRY  about five minutes the first time; run it again after a change
#   helm test weir --namespace weir-system
#   kubectl apply -f hack/kind/example.yaml && kubectl get weir,pvc,pod
#   kind delete cluster --name weir
# REGISTRY has the sidecars of Kubernetes' SIG Storage, as sig-storage/csi-provisioner and so on.
# Needs docker, kind, kubectl, helm, Internet access, and a kernel >= 6.7 with ublk_drv (some
# distributions keep it in linux-modules-extra). All nodes of kind share the kernel of the machine,
# and so its devices. Without Docker: npm run cluster.
set -euo pipefail
registry=${1:?usage: hack/kind/up.sh REGISTRY}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# The release of kubernetes-csi/external-snapshotter that has the CRDs and the controller.
snapshotter=v8.6.0
name=weir

for program in docker kind kubectl helm; do
  command -v "$program" >/dev/null || { echo "kind/up.sh needs $program." >&2; exit 1; }
done
if ! [ -e /dev/ublk-control ]; then
  echo "The kernel has no ublk: run \`sudo modprobe ublk_drv\` and try again." >&2
  exit 1
fi

docker build --tag localhost/weir:dev .
if ! kind get clusters | grep -qx "$name"; then
  kind create cluster --name "$name" --config hack/kind/kind.yaml
fi
kubectl config use-context "kind-$name"
kind load docker-image localhost/weir:dev --name "$name"

base="https://github.com/kubernetes-csi/external-snapshotter"
kubectl apply -k "$base/client/config/crd?ref=$snapshotter"
kubectl apply -k "$base/deploy/kubernetes/snapshot-controller?ref=$snapshotter"

# Its pods are privileged: they make block devices and mounts of the node.
kubectl create namespace weir-system --dry-run=client --output yaml | kubectl apply -f -
kubectl label --overwrite namespace weir-system pod-security.kubernetes.io/enforce=privileged
kubectl apply -f hack/kind/s3.yaml
kubectl --namespace weir-system rollout status deployment/s3 --timeout 5m

# One node needs one operator.
store="s3://weir/kind?endpoint=http://s3.weir-system:7070&insecure=true&region=us-east-1"
helm upgrade --install weir charts/weir --namespace weir-system --wait --timeout 5m \
  --set image.tag=dev \
  --set controller.replicaCount=1 \
  --set "sidecars.registry=$registry" \
  --set store.existingSecret=s3 \
  --set-string "store.url=$store"
echo "Weir runs: helm test weir --namespace weir-system"
