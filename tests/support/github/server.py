"""A GitHub of one repository over real HTTP: what it is asked and what it answers is held to the published schema."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from githubkit_schemas.v2022_11_28 import models
from graphql import GraphQLError, build_schema, graphql_sync
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.github.book import NAME, Book, Comment, Pull
from tests.support.github.filled import answer, check_request
from tests.support.github.githttp import serve
from tests.support.servers import served

TOKEN = "ghp_" + "s3cret" * 6
_SCHEMA = build_schema((Path(__file__).parent / "schema.graphql").read_text())
_DOCUMENTATION = "https://docs.github.com/rest"
_PAGE = 30
_LONGEST_COMMENT = 65_536
_LONGEST_OUTPUT = 65_535
_LONGEST_DESCRIPTION = 140
_ANNOTATIONS = 50


@dataclass
class Fault:
    """The next `times` requests whose line (`GET /repos/...`) it matches get this answer; the rest is as it is.

    With `after` the request is carried out first: it was done, and nobody is told.
    """

    line: str
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    times: int = 1
    after: bool = False


class FakeGitHub:
    """The server. `lines` are the requests so far; `violations` is what no client of GitHub's may send."""

    def __init__(self, origin: Path) -> None:
        self.book = Book(origin)
        self.url = ""
        self.faults: list[Fault] = []
        self.lines: list[str] = []
        self.violations: list[str] = []
        self.forbidden: re.Pattern[str] | None = None
        self.page = _PAGE
        self._lock = threading.Lock()

    def app(self, prefix: str = "") -> Starlette:
        """The application; `prefix` is `/api/v3` at an Enterprise Server, whose GraphQL is at `/api/graphql`."""
        here, pulls = f"{prefix}/repos/{NAME}", f"{prefix}/repos/{NAME}/pulls"
        pages: list[tuple[str, str, Callable[..., Response]]] = [
            ("GET", here, self._repository),
            ("GET", pulls, self._list),
            ("POST", pulls, self._open),
            ("GET", pulls + "/{number:int}", self._look),
            ("PATCH", pulls + "/{number:int}", self._change),
            ("PUT", pulls + "/{number:int}/merge", self._merge),
            ("GET", here + "/issues/{number:int}/comments", self._comments),
            ("POST", here + "/issues/{number:int}/comments", self._comment),
            ("PATCH", here + "/issues/comments/{number:int}", self._reword),
            ("DELETE", here + "/issues/comments/{number:int}", self._unsay),
            ("GET", prefix + "/user", self._user),
            ("GET", here + "/commits/{sha}/pulls", self._pulls_of),
            ("GET", pulls + "/{number:int}/reviews", self._reviews),
            ("GET", here + "/collaborators/{login}/permission", self._permission),
            ("GET", f"{prefix}/orgs/{{owner}}/teams/{{team}}/memberships/{{login}}", self._membership),
            ("GET", here + "/commits/{sha}/check-runs", self._check_runs),
            ("GET", here + "/commits/{sha}/status", self._status),
            ("POST", here + "/check-runs", self._check),
            ("PATCH", here + "/check-runs/{number:int}", self._recheck),
            ("GET", here + "/deployments", self._deployments),
            ("POST", here + "/deployments", self._deploy),
            ("GET", here + "/deployments/{number:int}/statuses", self._deployed),
            ("POST", here + "/deployments/{number:int}/statuses", self._deployed_so),
            ("POST", here + "/code-scanning/sarifs", self._findings),
            ("GET", here + "/actions/runs/{number:int}/approvals", self._approvals),
            ("POST", f"{prefix.removesuffix('/v3')}/graphql", self._graphql),
        ]
        routes = [Route(path, self._guarded(page), methods=[method]) for method, path, page in pages]
        for name in (NAME, f"{NAME}.git"):
            routes.append(Route(f"/{name}/{{rest:path}}", self._git, methods=["GET", "POST"]))
        routes.append(Route("/{rest:path}", self._guarded(lambda _, **_rest: _error(404, "Not Found"))))
        return Starlette(routes=routes)

    async def _git(self, request: Request) -> Response:
        line = f"{request.method} {request.url.path}"
        may_push = self.forbidden is None or not self.forbidden.search(line)
        rest = request.path_params["rest"]
        return await serve(self.book.remote.folder, request, rest, token=TOKEN, may_push=may_push)

    def _guarded(self, page: Callable[..., Response]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            body = await request.body()
            line = f"{request.method} {request.url.path}" + (
                f"?{request.url.query}" if request.url.query else ""
            )
            with self._lock:
                return self._respond(request, line, body, page)

        return endpoint

    def _respond(self, request: Request, line: str, body: bytes, page: Callable[..., Response]) -> Response:
        self.lines.append(line)
        fault = next((each for each in self.faults if each.times and re.search(each.line, line)), None)
        if fault is not None:
            fault.times -= 1
            if fault.after:
                self._page(request, body, page)
            return JSONResponse(fault.body, fault.status, headers=fault.headers)
        return self._page(request, body, page)

    def _page(self, request: Request, body: bytes, page: Callable[..., Response]) -> Response:
        for name, wanted in (
            ("accept", "application/vnd.github+json"),
            ("x-github-api-version", "2022-11-28"),
        ):
            if request.headers.get(name) != wanted:
                self.violations.append(f"{name}: {request.headers.get(name)}")
        if not request.headers.get("user-agent"):
            return _error(
                403,
                "Request forbidden by administrative rules. Please make sure your request has a User-Agent header",
            )
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _error(401, "Bad credentials")
        if self.forbidden is not None and self.forbidden.search(f"{request.method} {request.url.path}"):
            return _error(403, "Resource not accessible by personal access token")
        self.book.refresh()
        try:
            known = {"body": json.loads(body)} if body else {}
            return page(request, **known, **request.path_params)
        except (AssertionError, ValueError) as error:
            self.violations.append(f"{request.method} {request.url.path}: {error}")
            return _error(500, "the request is not as the published schema says")

    def _repository(self, _: Request) -> Response:
        methods = self.book.methods
        return JSONResponse(
            answer(
                models.FullRepository,
                name=NAME.split("/")[1],
                full_name=NAME,
                allow_auto_merge=self.book.allow_auto_merge,
                allow_squash_merge="squash" in methods,
                allow_rebase_merge="rebase" in methods,
                allow_merge_commit="merge" in methods,
            )
        )

    def _list(self, request: Request) -> Response:
        wanted = request.query_params
        owner, _, branch = wanted.get("head", "").partition(":")
        found = [
            pull
            for pull in reversed(self.book.pulls)
            # As GitHub does: what is no owner:branch filters nothing.
            if (not branch or (owner, pull.branch) == (NAME.split("/")[0], branch))
            and wanted.get("base", pull.base) == pull.base
            and wanted.get("state", "open") in ("all", pull.state)
        ]
        return self._paged(request, [self._shown(pull, simple=True) for pull in found])

    def _open(self, _: Request, body: Any) -> Response:
        check_request(models.ReposOwnerRepoPullsPostBody, body)
        made = self.book.open(
            body["title"], body.get("body", ""), body["head"], body["base"], draft=body.get("draft", False)
        )
        if isinstance(made, str):
            wrong: dict[str, Any] = {"resource": "PullRequest", "code": "custom", "message": made}
            if made == "head invalid":
                wrong = {"resource": "PullRequest", "field": "head", "code": "invalid"}
            return JSONResponse(
                answer(
                    models.ValidationError,
                    message="Validation Failed",
                    documentation_url=_DOCUMENTATION,
                    errors=[wrong],
                ),
                422,
            )
        return JSONResponse(self._shown(made), 201)

    def _look(self, _: Request, number: int) -> Response:
        pull = self._pull(number)
        return _error(404, "Not Found") if pull is None else JSONResponse(self._shown(pull))

    def _change(self, _: Request, number: int, body: Any) -> Response:
        check_request(models.ReposOwnerRepoPullsPullNumberPatchBody, body)
        pull = self._pull(number)
        if pull is None:
            return _error(404, "Not Found")
        if pull.merged_by_commit is None:
            pull.state = body.get("state", pull.state)
        return JSONResponse(self._shown(pull))

    def _merge(self, _: Request, number: int, body: Any) -> Response:
        check_request(models.ReposOwnerRepoPullsPullNumberMergePutBody, body)
        pull = self._pull(number)
        if pull is None:
            return _error(404, "Not Found")
        method = body.get("merge_method", "merge")
        if method not in self.book.methods:
            return _error(405, f"{method.capitalize()} merges are not allowed on this repository.")
        if body.get("sha", pull.head) != pull.head:
            return _error(409, "Head branch was modified. Review and try the merge again.")
        if self.book.merge_state(pull, worked_out=True) not in ("clean", "unstable"):
            return _error(405, "Pull Request is not mergeable")
        commit = self.book.merge(pull, body.get("commit_title"), body.get("commit_message"))
        return JSONResponse(
            answer(
                models.PullRequestMergeResult,
                sha=commit,
                merged=True,
                message="Pull Request successfully merged",
            )
        )

    def _comments(self, request: Request, number: int) -> Response:
        pull = self._pull(number)
        if pull is None:
            return _error(404, "Not Found")
        return self._paged(request, [self._told(said) for said in pull.said])

    def _comment(self, _: Request, number: int, body: Any) -> Response:
        check_request(models.ReposOwnerRepoIssuesIssueNumberCommentsPostBody, body)
        pull = self._pull(number)
        if pull is None:
            return _error(404, "Not Found")
        if pull.locked:
            return _error(403, "Unable to create comment because issue is locked.")
        if len(body["body"]) > _LONGEST_COMMENT:
            return _error(422, "Validation Failed")
        return JSONResponse(self._told(self.book.say(pull, body["body"])), 201)

    def _reword(self, _: Request, number: int, body: Any) -> Response:
        check_request(models.ReposOwnerRepoIssuesCommentsCommentIdPatchBody, body)
        found = self.book.comment(number)
        if found is None:
            return _error(404, "Not Found")
        if len(body["body"]) > _LONGEST_COMMENT:
            return _error(422, "Validation Failed")
        found[1].body = body["body"]
        return JSONResponse(self._told(found[1]))

    def _unsay(self, _: Request, number: int) -> Response:
        found = self.book.comment(number)
        if found is None:
            return _error(404, "Not Found")
        found[0].said.remove(found[1])
        return Response(status_code=204)

    def _user(self, _: Request) -> Response:
        if self.book.login.endswith("[bot]"):
            return _error(403, "Resource not accessible by integration")
        return JSONResponse(answer(models.PublicUser, login=self.book.login))

    def _told(self, said: Comment) -> dict[str, Any]:
        user = {"login": said.login, "type": "Bot" if said.bot else "User"}
        url = f"{self.url}/{NAME}/issues/comments/{said.number}"
        return answer(models.IssueComment, id=said.number, body=said.body, user=user, html_url=url)

    def _check_runs(self, request: Request, sha: str) -> Response:
        runs = [
            answer(
                models.CheckRun,
                name=name,
                head_sha=sha,
                status="in_progress" if ended is None else "completed",
                conclusion=ended,
            )
            for name, ended in self.book.checks.get(sha, {}).items()
        ]
        name = request.query_params.get("check_name")
        runs = [run for run in runs if name in (None, run["name"])]
        runs += [
            _run(each) for each in self.book.runs if each["head_sha"] == sha and name in (None, each["name"])
        ]
        return self._paged(request, runs, within="check_runs", total=len(runs))

    def _check(self, _: Request, body: Any) -> Response:
        check_request(models.ReposOwnerRepoCheckRunsPostBodyOneof0, body)
        assert body["status"] != "completed" or "conclusion" in body
        made = {"id": len(self.book.runs) + 1, "said": []}
        return self._rechecked(made, body) or self._kept(made)

    def _kept(self, made: dict[str, Any]) -> Response:
        self.book.runs.append(made)
        return JSONResponse(_run(made), 201)

    def _recheck(self, _: Request, number: int, body: Any) -> Response:
        check_request(models.ReposOwnerRepoCheckRunsCheckRunIdPatchBodyAnyof0, body)
        made = next((run for run in self.book.runs if run["id"] == number), None)
        if made is None:
            return _error(404, "Not Found")
        return self._rechecked(made, body) or JSONResponse(_run(made))

    def _rechecked(self, made: dict[str, Any], body: dict[str, Any]) -> Response | None:
        output = dict(body.get("output", {}))
        said = output.pop("annotations", [])
        if len(said) > _ANNOTATIONS or any(
            len(output.get(part, "")) > _LONGEST_OUTPUT for part in ("summary", "text")
        ):
            return _error(422, "Invalid request.")
        made.update({**body, "output": output})
        made["said"].extend(said)
        return None

    def _deployments(self, request: Request) -> Response:
        wanted = request.query_params
        found = [
            _deployment(made)
            for made in reversed(self.book.deployments)
            if all(wanted.get(part, made[part]) == made[part] for part in ("environment", "task"))
        ]
        return self._paged(request, found)

    def _deploy(self, _: Request, body: Any) -> Response:
        check_request(models.ReposOwnerRepoDeploymentsPostBody, body)
        if body.get("auto_merge", True) or body.get("required_contexts") != []:
            return _error(409, "Conflict merging the default branch")
        kept = ("task", "environment", "payload", "description", "production_environment")
        made = {part: body[part] for part in (*kept, "transient_environment") if part in body}
        made |= {"id": len(self.book.deployments) + 1, "ref": body["ref"]}
        self.book.deployments.append(made)
        self.book.deployed[made["id"]] = []
        return JSONResponse(_deployment(made), 201)

    def _deployed(self, request: Request, number: int) -> Response:
        if number not in self.book.deployed:
            return _error(404, "Not Found")
        said = reversed(self.book.deployed[number])
        return self._paged(request, [answer(models.DeploymentStatus, **each) for each in said])

    def _deployed_so(self, _: Request, number: int, body: Any) -> Response:
        check_request(models.ReposOwnerRepoDeploymentsDeploymentIdStatusesPostBody, body)
        if number not in self.book.deployed:
            return _error(404, "Not Found")
        if len(body.get("description", "")) > _LONGEST_DESCRIPTION:
            return _error(422, "Validation Failed")
        made = {part: value for part, value in body.items() if part != "auto_inactive"}
        made["id"] = 1 + sum(map(len, self.book.deployed.values()))
        self.book.deployed[number].append(made)
        return JSONResponse(answer(models.DeploymentStatus, **made), 201)

    def _pulls_of(self, request: Request, sha: str) -> Response:
        found = [
            pull
            for pull in self.book.pulls
            if sha in (pull.merged_by_commit, pull.head) or sha in self.book.brought.get(pull.number, ())
        ]
        return self._paged(request, [self._shown(pull, simple=True) for pull in found])

    def _reviews(self, request: Request, number: int) -> Response:
        pull = self._pull(number)
        if pull is None:
            return _error(404, "Not Found")
        said = [
            answer(models.PullRequestReview, user={"login": login}, state=state, commit_id=commit)
            for login, state, commit in pull.reviews
        ]
        return self._paged(request, said)

    def _permission(self, _: Request, login: str) -> Response:
        known = {"permission": self.book.permissions.get(login, "none"), "role_name": "x"}
        return JSONResponse(answer(models.RepositoryCollaboratorPermission, **known))

    def _membership(self, _: Request, owner: str, team: str, login: str) -> Response:
        if self.book.login.endswith("[bot]"):
            return _error(403, "Resource not accessible by integration")
        if owner != NAME.split("/")[0] or login not in self.book.teams.get(team, ()):
            return _error(404, "Not Found")
        return JSONResponse(answer(models.TeamMembership, state="active", role="member"))

    def _findings(self, _: Request, body: Any) -> Response:
        check_request(models.ReposOwnerRepoCodeScanningSarifsPostBody, body)
        self.book.sarifs.append(body)
        return JSONResponse(
            answer(models.CodeScanningSarifsReceipt, id=f"sarif-{len(self.book.sarifs)}"), 202
        )

    def _approvals(self, _: Request, number: int) -> Response:
        said = [
            answer(
                models.EnvironmentApprovals,
                environments=[{"name": each} for each in places],
                state=state,
                user={"login": login},
                comment="",
            )
            for run, login, state, places in self.book.approvals
            if run == number
        ]
        return JSONResponse(said)

    def _status(self, request: Request, sha: str) -> Response:
        states = self.book.statuses.get(sha, {})
        shown = answer(models.CombinedCommitStatus, sha=sha, total_count=len(states), state="pending")
        shown["statuses"] = [
            answer(models.SimpleCommitStatus, context=name, state=state) for name, state in states.items()
        ]
        models.CombinedCommitStatus.model_validate(shown)
        return JSONResponse(shown)

    def _graphql(self, _: Request, body: Any) -> Response:
        done = graphql_sync(
            _SCHEMA,
            body["query"],
            root_value={"enablePullRequestAutoMerge": lambda _, input: self._enable(input)},
            variable_values=body.get("variables"),
        )
        shown: dict[str, Any] = {"data": done.data}
        if done.errors:
            refused = [error for error in done.errors if error.original_error is not None]
            if not refused:
                self.violations.extend(str(error) for error in done.errors)
            shown["errors"] = [
                {"type": "UNPROCESSABLE", "path": ["enablePullRequestAutoMerge"], "message": error.message}
                for error in done.errors
            ]
        return JSONResponse(shown)

    def _enable(self, wanted: dict[str, Any]) -> Any:
        pull = next(
            (each for each in self.book.pulls if f"PR_{each.number}" == wanted["pullRequestId"]), None
        )
        if pull is None:
            raise GraphQLError(
                f"Could not resolve to a node with the global id of '{wanted['pullRequestId']}'"
            )
        if not self.book.allow_auto_merge:
            raise GraphQLError("Auto merge is not allowed for this repository")
        method = wanted["mergeMethod"].lower()
        if method not in self.book.methods:
            raise GraphQLError(f"Merge method {method} merging is not allowed on this repository")
        if wanted.get("expectedHeadOid", pull.head) != pull.head:
            raise GraphQLError("Head sha didn't match expected head sha")
        state = self.book.merge_state(pull, worked_out=True)
        if state != "blocked":
            raise GraphQLError(f"Pull request Pull request is in {state} status")
        pull.auto_merge = {
            "method": method,
            "title": wanted.get("commitHeadline") or pull.title,
            "message": wanted.get("commitBody") or pull.body,
        }
        return {"pullRequest": {"number": pull.number, "id": f"PR_{pull.number}"}}

    def _shown(self, pull: Pull, *, simple: bool = False) -> dict[str, Any]:
        merged_at = "2026-03-01T12:00:00Z" if pull.merged_by_commit else None
        owner = NAME.split("/")[0]
        repository = {"full_name": NAME, "name": NAME.split("/")[1]}
        known: dict[str, Any] = {
            "number": pull.number,
            "node_id": f"PR_{pull.number}",
            "html_url": f"{self.url}/{NAME}/pull/{pull.number}",
            "state": pull.state,
            "title": pull.title,
            "body": pull.body,
            "user": {"login": pull.author},
            "labels": [{"name": label} for label in pull.labels],
            "draft": pull.draft,
            "merged_at": merged_at,
            "merge_commit_sha": pull.merged_by_commit,
            "head": {
                "ref": pull.branch,
                "sha": pull.head,
                "label": f"{owner}:{pull.branch}",
                "repo": repository,
            },
            "base": {"ref": pull.base, "label": f"{owner}:{pull.base}", "repo": repository},
            "auto_merge": pull.auto_merge
            and {
                "merge_method": pull.auto_merge["method"],
                "commit_title": pull.auto_merge["title"],
                "commit_message": pull.auto_merge["message"],
            },
        }
        if simple:
            return answer(models.PullRequestSimple, **known)
        return answer(
            models.PullRequest,
            merged=merged_at is not None,
            mergeable_state=self.book.merge_state(pull),
            **known,
        )

    def _pull(self, number: int) -> Pull | None:
        return next((pull for pull in self.book.pulls if pull.number == number), None)

    def _paged(self, request: Request, items: list[Any], *, within: str = "", total: int = 0) -> Response:
        page = int(request.query_params.get("page", "1"))
        size = min(self.page, int(request.query_params.get("per_page", "30")))
        shown = items[(page - 1) * size : page * size]
        headers = {}
        if page * size < len(items):
            following = request.url.include_query_params(page=page + 1)
            headers["link"] = f'<{following}>; rel="next", <{following}>; rel="last"'
        return JSONResponse({"total_count": total, within: shown} if within else shown, headers=headers)


@contextmanager
def github(origin: Path, *, prefix: str = "") -> Iterator[FakeGitHub]:
    """A GitHub over a bare repository, for as long as a test takes; it ends with an error for what broke the schema."""
    fake = FakeGitHub(origin)
    with served(fake.app(prefix)) as url:
        fake.url = url
        yield fake
    assert not fake.violations, fake.violations


def _run(made: dict[str, Any]) -> dict[str, Any]:
    known = ("id", "name", "head_sha", "external_id", "status", "conclusion")
    output = {part: made["output"].get(part) for part in ("title", "summary", "text")}
    output["annotations_count"] = len(made["said"])
    return answer(models.CheckRun, **{part: made[part] for part in known}, output=output)


def _deployment(made: dict[str, Any]) -> dict[str, Any]:
    """The payload is free in its form, and so is not filled."""
    shown = answer(models.Deployment, **{part: made[part] for part in made if part != "payload"})
    shown["payload"] = made["payload"]
    models.Deployment.model_validate(shown)
    return shown


def _error(status: int, message: str) -> Response:
    return JSONResponse(
        answer(models.BasicError, message=message, documentation_url=_DOCUMENTATION, status=str(status)),
        status,
    )
