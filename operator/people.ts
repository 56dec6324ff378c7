// Tells people what happened: as events on the object itself, and on the claim or VolumeSnapshot
// it was made for, because that is where users look.
import type { EventRecorder } from "../core/kube/events.ts";
import { apiVersionOf } from "../core/kube/kind.ts";
import { PERSISTENT_VOLUME_CLAIM } from "../core/kube/kinds.ts";
import type { Kind, KubeApi, KubeEvent, KubeObject } from "../core/kube/kube-api.ts";
import { WeirError } from "../core/runtime/errors.ts";
import { LABELS } from "../crds/common-fields.ts";

export interface News {
  readonly type?: KubeEvent["type"];
  readonly reason: string;
  readonly note: string;
  readonly action: string;
}

export class People {
  readonly #api: KubeApi;
  readonly #recorder: Pick<EventRecorder, "record">;

  constructor(options: {
    readonly api: KubeApi;
    readonly recorder: Pick<EventRecorder, "record">;
  }) {
    this.#api = options.api;
    this.#recorder = options.recorder;
  }

  /** Never throws: an event is help, not truth. */
  async tell<T extends KubeObject>(
    about: { readonly kind: Kind<T>; readonly object: T },
    news: News,
    signal: AbortSignal,
  ): Promise<void> {
    const { kind, object } = about;
    const { name, namespace, uid, labels } = object.metadata;
    this.#record({ apiVersion: apiVersionOf(kind), kind: kind.kind, name, namespace, uid }, news);
    const claim = { name: labels?.[LABELS.pvcName], namespace: labels?.[LABELS.pvcNamespace] };
    await this.tellClaim(claim, news, signal);
  }

  /** Likewise, for a request that has no object yet. */
  async tellClaim(
    claim: { readonly name?: string | undefined; readonly namespace?: string | undefined },
    news: News,
    signal: AbortSignal,
  ): Promise<void> {
    const { name, namespace } = claim;
    if (name === undefined || namespace === undefined) return;
    try {
      const found = await this.#api.get(PERSISTENT_VOLUME_CLAIM, { name, namespace }, { signal });
      if (found === undefined) return;
      const { kind } = PERSISTENT_VOLUME_CLAIM;
      const apiVersion = apiVersionOf(PERSISTENT_VOLUME_CLAIM);
      this.#record({ apiVersion, kind, name, namespace, uid: found.metadata.uid }, news);
    } catch (cause) {
      if (!(cause instanceof WeirError)) throw cause;
    }
  }

  #record(regarding: KubeEvent["regarding"], news: News): void {
    const { type = "Warning", reason, note, action } = news;
    this.#recorder.record({ regarding, type, reason, note, action });
  }
}
